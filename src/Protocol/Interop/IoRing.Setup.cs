using System.Numerics;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vhost.Protocol;

/// <summary>How a ring comes and goes.</summary>
internal sealed unsafe partial class IoRing
{
    /// <summary>The most places a ring can have.</summary>
    internal const int MostPlaces = 32768;

    private const uint NeededFeatures = Libc.IORING_FEAT_SINGLE_MMAP | Libc.IORING_FEAT_NODROP | Libc.IORING_FEAT_SUBMIT_STABLE | Libc.IORING_FEAT_RW_CUR_POS;

    private readonly SafeFileHandle _ring;
    private readonly MappingHandle _words;
    private readonly MappingHandle _entries;
    private readonly uint* _submissionTail;
    private readonly uint* _completionHead;
    private readonly uint* _completionTail;
    private readonly Libc.IoRingSubmission* _submissions;
    private readonly Libc.IoRingCompletion* _completions;
    private readonly uint _submissionMask;
    private readonly uint _completionMask;

    /// <summary>Our own copy of the submission tail, which we alone write.</summary>
    private uint _tail;

    /// <summary>Our own copy of the completion head, which we alone write.</summary>
    private uint _completionHeadSeen;

    private bool _disposed;

    // Safety: the kernel's offsets are inside what was mapped, which TryCreate sized by them; the ring is alone with a new mapping.
    private IoRing(int places, SafeFileHandle ring, EventNotifier completed, Libc.IoRingParameters parameters, MappingHandle words, MappingHandle entries)
    {
        _vectors = new IoVector[]?[places];
        _ring = ring;
        Completed = completed;
        _words = words;
        _entries = entries;
        byte* start = (byte*)words.DangerousGetHandle();
        _submissionTail = (uint*)(start + parameters.SubmissionTail);
        _completionHead = (uint*)(start + parameters.CompletionHead);
        _completionTail = (uint*)(start + parameters.CompletionTail);
        _completions = (Libc.IoRingCompletion*)(start + parameters.Completions);
        _submissions = (Libc.IoRingSubmission*)entries.DangerousGetHandle();
        _submissionMask = parameters.SubmissionEntries - 1;
        _completionMask = parameters.CompletionEntries - 1;

        // The order in which entries are read: once and for all the order in which they stand.
        uint* order = (uint*)(start + parameters.SubmissionArray);
        for (uint i = 0; i < parameters.SubmissionEntries; i++)
            order[i] = i;
    }

    /// <summary>Makes a ring for a file, which it keeps open until it is disposed.</summary>
    /// <param name="file">The file; the handle stays the caller's.</param>
    /// <param name="places">Requests that can be in flight, 1 to <see cref="MostPlaces"/>.</param>
    /// <param name="failure">Why there is no ring: the kernel has none, forbids it, or is too old (before 5.6), or the process may open no more files.</param>
    internal static IoRing? TryCreate(SafeHandle file, int places, out LinuxException? failure)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(places, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(places, MostPlaces);
        uint entries = BitOperations.RoundUpToPowerOf2((uint)places);
        Libc.IoRingParameters parameters = new() { Flags = Libc.IORING_SETUP_CQSIZE, CompletionEntries = entries };
        SafeFileHandle? ring = Libc.IoRingSetup(entries, ref parameters, out int errno);
        failure = ring is null ? new LinuxException("io_uring_setup", errno) : null;
        if (ring is null)
            return null;
        EventNotifier? completed = null;
        MappingHandle? words = null;
        try
        {
            if ((parameters.Features & NeededFeatures) != NeededFeatures)
                throw new LinuxException("io_uring of a kernel before 5.6", Libc.ENOSYS);
            completed = new EventNotifier();
            int refused = Libc.IoRingRegisterEvent(ring, completed.Descriptor);
            if (refused == 0)
                refused = Libc.IoRingRegisterFile(ring, file);
            if (refused != 0)
                throw new LinuxException("io_uring_register", refused);
            words = Map(ring, WordsLength(parameters), Libc.IORING_OFF_SQ_RING);
            MappingHandle submissions = Map(ring, parameters.SubmissionEntries * (nuint)sizeof(Libc.IoRingSubmission), Libc.IORING_OFF_SQES);
            return new IoRing(places, ring, completed, parameters, words, submissions);
        }
        catch (LinuxException e)
        {
            words?.Dispose();
            completed?.Dispose();
            ring.Dispose();
            failure = e;
            return null;
        }
    }

    /// <summary>Gives the ring back; what the kernel has not taken is forgotten.</summary>
    /// <exception cref="InvalidOperationException">Requests are in flight: the kernel still writes to the memory they name.</exception>
    public void Dispose()
    {
        if (_disposed)
            return;
        if (InFlight != (int)Prepared)
            throw new InvalidOperationException($"{InFlight} requests are in flight.");
        _disposed = true;
        Libc.IoRingUnregisterFile(_ring); // with it go the image's locks
        _words.Dispose();
        _entries.Dispose();
        _ring.Dispose();
        Completed.Dispose();
    }

    // Safety: nothing is touched.
    private static nuint WordsLength(Libc.IoRingParameters parameters) => Math.Max(
        parameters.SubmissionArray + (parameters.SubmissionEntries * (nuint)sizeof(uint)),
        parameters.Completions + (parameters.CompletionEntries * (nuint)sizeof(Libc.IoRingCompletion)));

    private static MappingHandle Map(SafeFileHandle ring, nuint length, long offset)
    {
        nint address = Libc.mmap(0, length, Libc.PROT_READ | Libc.PROT_WRITE, Libc.MAP_SHARED, ring, offset);
        int errno = Marshal.GetLastPInvokeError();

        // The ring's descriptor is closed by the ring, not with one of its mappings.
        return address != Libc.MAP_FAILED
            ? new MappingHandle(address, length, new SafeFileHandle(-1, ownsHandle: false))
            : throw new LinuxException("mmap(io_uring)", errno);
    }
}
