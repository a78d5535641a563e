using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vhost.Protocol;

/// <summary>
/// A submission and a completion ring that are shared with the kernel (io_uring), for one file. Requests are prepared one by one, handed over all at once by
/// <see cref="Submit"/> and collected in any order by <see cref="TryTake"/>, which costs no system call.
/// </summary>
/// <remarks>
/// <para>A request has a place, a number below <see cref="Places"/> that the caller chooses: not used again before it was collected. Guest memory that a request names
/// must stay mapped until then, for which the caller holds a lease; the addresses are copied here, so nothing the guest writes afterwards changes them.</para>
/// <para>Threading: one thread at a time, which need not always be the same.</para>
/// </remarks>
// Safety: every pointer is into one of the two mappings, at an offset the kernel named and inside the length that was mapped; indices are masked. The
// mappings live until Dispose, after which every member throws. The kernel writes the completion tail and entries, we write the rest.
internal sealed unsafe partial class IoRing : IDisposable
{
    /// <summary>The most pieces of memory of one submission; a request of more is continued by its owner like any short transfer.</summary>
    private const int MostVectors = 128;

    /// <summary>The most bytes of one submission: what the kernel has begun cannot be called back, and a guest may ask for gigabytes.</summary>
    internal const uint MostBytes = 16 << 20;

    private const int FewVectors = 8;

    /// <summary>For each place the addresses of its submission, in pinned memory of our own.</summary>
    private readonly IoVector[]?[] _vectors;

    /// <summary>Requests that can be in flight.</summary>
    internal int Places => _vectors.Length;

    /// <summary>Requests prepared or handed over, and not collected.</summary>
    internal int InFlight { get; private set; }

    /// <summary>Requests prepared that the kernel has not taken.</summary>
    internal uint Prepared { get; private set; }

    /// <summary>Can be consumed after a request has completed.</summary>
    internal EventNotifier Completed { get; }

    /// <summary>Whether there is something to take.</summary>
    internal bool HasCompletions
    {
        get
        {
            Check();
            return Volatile.Read(ref *_completionTail) != _completionHeadSeen;
        }
    }

    /// <summary>Prepares reading from the file into the front of <paramref name="destination"/>; how much is told with the completion.</summary>
    /// <returns>How much is asked for: at most <see cref="MostBytes"/>.</returns>
    internal uint Read(int place, ulong offset, in GuestBuffers destination) =>
        Transfer(Libc.IORING_OP_READ, Libc.IORING_OP_READV, place, offset, destination, 0);

    /// <summary>Prepares writing the front of <paramref name="source"/> to the file; how much is told with the completion.</summary>
    /// <param name="place">The request's place.</param>
    /// <param name="offset">Where in the file.</param>
    /// <param name="source">The data.</param>
    /// <param name="durable">Completes only when the data survives a loss of power.</param>
    /// <returns>How much is asked for: at most <see cref="MostBytes"/>.</returns>
    internal uint Write(int place, ulong offset, in GuestBuffers source, bool durable) =>
        Transfer(Libc.IORING_OP_WRITE, Libc.IORING_OP_WRITEV, place, offset, source, durable ? Libc.RWF_DSYNC : 0u);

    /// <summary>Prepares making durable what was written and completed so far.</summary>
    internal void Sync(int place)
    {
        ref Libc.IoRingSubmission entry = ref Next(place);
        entry.Operation = Libc.IORING_OP_FSYNC;
        entry.OperationFlags = Libc.IORING_FSYNC_DATASYNC;
    }

    /// <summary>Prepares fallocate(2).</summary>
    internal void Allocate(int place, int mode, ulong offset, ulong length)
    {
        ref Libc.IoRingSubmission entry = ref Next(place);
        entry.Operation = Libc.IORING_OP_FALLOCATE;
        entry.Offset = offset;
        entry.Address = length;
        entry.Length = (uint)mode;
    }

    /// <summary>Hands what was prepared to the kernel, in one system call. What the kernel cannot take at present stays prepared.</summary>
    /// <exception cref="LinuxException">The kernel refuses for good.</exception>
    internal void Submit()
    {
        Check();
        while (Prepared != 0)
        {
            // The entries first, then the tail: the kernel reads the tail, then the entries.
            Volatile.Write(ref *_submissionTail, _tail);
            int taken = Libc.IoRingEnter(_ring, Prepared);
            if (taken > 0)
            {
                Prepared -= (uint)taken;
                continue;
            }

            if (taken is 0 or -Libc.EAGAIN or -Libc.EBUSY)
                return;
            if (taken != -Libc.EINTR)
                throw new LinuxException("io_uring_enter", -taken);
        }
    }

    /// <summary>Takes back the request that was prepared last, if the kernel has not taken it; as if it had never been prepared.</summary>
    /// <param name="place">Its place, which is free again.</param>
    internal bool TryWithdraw(out int place)
    {
        Check();
        place = 0;
        if (Prepared == 0)
            return false;

        // The kernel reads the tail in the call that hands over, and at no other time.
        place = (int)_submissions[--_tail & _submissionMask].UserData;
        Volatile.Write(ref *_submissionTail, _tail);
        Prepared--;
        InFlight--;
        return true;
    }

    /// <summary>Collects one request that has completed.</summary>
    /// <param name="place">Its place, which is free again.</param>
    /// <param name="result">Bytes moved, or the negative error number.</param>
    internal bool TryTake(out int place, out int result)
    {
        Check();
        uint head = _completionHeadSeen;
        if (Volatile.Read(ref *_completionTail) == head)
        {
            place = result = 0;
            return false;
        }

        ref Libc.IoRingCompletion entry = ref _completions[head & _completionMask];
        place = (int)entry.UserData;
        result = entry.Result;
        _completionHeadSeen = head + 1;

        // The entry is read before the kernel may write it again.
        Volatile.Write(ref *_completionHead, head + 1);
        InFlight--;
        return true;
    }

    /// <summary>One piece of memory stands in the entry itself, which spares the kernel a list.</summary>
    private uint Transfer(byte single, byte vectored, int place, ulong offset, in GuestBuffers buffers, uint flags)
    {
        bool isSingle = buffers.IsOnePiece(out nint address);
        uint asked = Math.Min(buffers.Length, MostBytes);
        int count = isSingle ? 1 : CopyAddresses(place, buffers, out asked);
        ref Libc.IoRingSubmission entry = ref Next(place);
        entry.Operation = isSingle ? single : vectored;
        entry.Offset = offset;
        entry.Address = (ulong)(isSingle ? address : Marshal.UnsafeAddrOfPinnedArrayElement(_vectors[place]!, 0));
        entry.Length = isSingle ? asked : (uint)count;
        entry.OperationFlags = flags;
        return asked;
    }

    /// <summary>The kernel copies the addresses when it takes the request; until then they are in pinned memory, which nobody else sees.</summary>
    private int CopyAddresses(int place, in GuestBuffers buffers, out uint asked)
    {
        ref IoVector[]? vectors = ref _vectors[place];
        vectors ??= GC.AllocateUninitializedArray<IoVector>(FewVectors, pinned: true);
        uint left = Math.Min(buffers.Length, MostBytes);
        int count = 0;
        for (GuestBuffers.Cursor cursor = buffers.GetCursor(); left > 0 && count < MostVectors && cursor.MoveNext(); count++)
        {
            if (count == vectors.Length)
                Grow(ref vectors);
            uint here = Math.Min(left, cursor.Count);
            vectors[count] = new IoVector { Base = (void*)cursor.Address, Length = here };
            left -= here;
        }

        asked = Math.Min(buffers.Length, MostBytes) - left;
        return count;
    }

    private static void Grow(ref IoVector[] vectors)
    {
        IoVector[] larger = GC.AllocateUninitializedArray<IoVector>(MostVectors, pinned: true);
        vectors.CopyTo(larger, 0);
        vectors = larger;
    }

    /// <summary>The next entry, cleared. There is always room, since there are as many entries as places.</summary>
    private ref Libc.IoRingSubmission Next(int place)
    {
        Check();
        ref Libc.IoRingSubmission entry = ref _submissions[_tail++ & _submissionMask];
        entry = default;
        entry.Flags = Libc.IOSQE_FIXED_FILE;
        entry.UserData = (uint)place;
        Prepared++;
        InFlight++;
        return ref entry;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Check() => ObjectDisposedException.ThrowIf(_disposed, this);
}
