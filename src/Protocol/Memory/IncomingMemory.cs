using System.Runtime.InteropServices;

namespace Vhost.Protocol;

/// <summary>
/// Memory that is still under way while it is used already (postcopy). Nobody is given the address of a page that has not arrived: a thread that ran into it in managed code would wait for the page, and the
/// garbage collector, and with it the process, would wait for the thread. Pages are brought in by a system call instead (<see cref="BringIn"/>), during which the collector runs.
/// </summary>
/// <remarks>
/// <para>A back-end watches a mapping of its own beside the one that is used, so whatever a front-end does to its file later, no thread waits in managed code.</para>
/// <para>Somebody who waits and is let go of with the page still missing makes a page of zeros in the file, which is the guest's for everybody, and for good: the true page finds its place taken. So nobody who waits in a
/// mapping of our own is let go of before that can no longer be written to, and memory that was given up shows no page that had not arrived.</para>
/// <para>Threading: all members may be used from any thread.</para>
/// </remarks>
internal sealed class IncomingMemory : IDisposable
{
    private readonly SharedMemory _memory;
    private readonly UserFaults _faults;
    private readonly MappingHandle _mapping;
    private readonly nint _start;

    /// <summary>Bytes of the first page that lie before the memory.</summary>
    private readonly ulong _lead;
    private readonly bool _ownsMapping;
    private volatile bool _over;
    private volatile bool _lost;

    private IncomingMemory(SharedMemory memory, UserFaults faults, MappingHandle mapping, nint start, bool ownsMapping)
    {
        (_memory, _faults, _mapping, _start, _ownsMapping) = (memory, faults, mapping, start, ownsMapping);
        _lead = (ulong)memory.Address % memory.PageSize;
        Arrived = new ArrivedPages((_lead + memory.Length + memory.PageSize - 1) / memory.PageSize);
        Settled = ownsMapping ? Arrived : new ArrivedPages(Arrived.Pages);
        faults.Watch(start, WatchedBytes);
        memory.Incoming = this;
    }

    /// <summary>The pages that are there, counted from the one with the first byte of the memory.</summary>
    internal ArrivedPages Arrived { get; }

    /// <summary>The pages for which nobody has to be asked: where we are the one who places pages, those that were placed or said to be there. Where the file has none of those, it is empty, and made when somebody touches it.</summary>
    internal ArrivedPages Settled { get; }

    /// <summary>Where the first byte is watched: what faults are told with.</summary>
    internal ulong WatchedAddress => (ulong)_start + _lead;

    /// <summary>Nothing is awaited any more: the memory is as any other.</summary>
    internal bool IsOver => _over;

    /// <summary>Given up: what has not arrived never will, and must not be touched.</summary>
    internal bool IsLost => _lost;

    private nuint WatchedBytes => (nuint)(Arrived.Pages * _memory.PageSize);

    /// <summary>Watches a second mapping of the memory, in which pages are brought in.</summary>
    /// <exception cref="LinuxException">It is not to be had, or is no memory that can be watched.</exception>
    internal static IncomingMemory Beside(SharedMemory memory, UserFaults faults)
    {
        MappingHandle mapping = memory.MapAgain(out nint start);
        try
        {
            return new IncomingMemory(memory, faults, mapping, start, ownsMapping: true);
        }
        catch
        {
            mapping.Dispose();
            throw;
        }
    }

    /// <summary>Watches the memory where it is used, for threads that may wait in it, such as those of virtual processors.</summary>
    /// <exception cref="LinuxException">It is no memory that can be watched.</exception>
    internal static IncomingMemory InPlace(SharedMemory memory, UserFaults faults) =>
        new(memory, faults, memory.Mapping, (nint)((ulong)memory.Address / memory.PageSize * memory.PageSize), ownsMapping: false);

    /// <summary>How many bytes from one on have arrived, at most so many.</summary>
    internal ulong RunFrom(ulong offset, ulong most)
    {
        ulong page = PageOf(offset);
        ulong end = (page + Arrived.RunFrom(page, PagesOf(offset, most))) * _memory.PageSize;
        ulong at = _lead + offset;
        return end <= at ? 0 : Math.Min(most, end - at);
    }

    /// <summary>Whether nobody has to be asked for a range of at least one byte.</summary>
    internal bool IsSettled(ulong offset, ulong length) => Settled.RunFrom(PageOf(offset), PagesOf(offset, length)) == PagesOf(offset, length);

    /// <summary>Makes a page that is settled, unless the file has it already: a page of zeros. Who waits for it looks again only when he is woken.</summary>
    /// <returns>0 or the error number.</returns>
    internal int Make(ulong page)
    {
        // Not by the userfaultfd: in a file system that is full, that fails also for a page that is there.
        int errno = Libc.Allocate(_memory.Descriptor, Libc.FALLOC_FL_KEEP_SIZE, _memory.DescriptorOffset - _lead + (page * _memory.PageSize), _memory.PageSize);
        if (errno == 0)
            Arrived.Add(page);
        return errno;
    }

    /// <summary>Brings a range in. Waits, as long as it takes, in system calls only.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Bytes, at least 1.</param>
    /// <param name="progressed">Called whenever a page has arrived.</param>
    /// <returns>0 or the error number: <c>ECANCELED</c> when nothing is awaited any more.</returns>
    internal int BringIn(ulong offset, ulong length, Action? progressed = null)
    {
        bool held = false;
        try
        {
            _mapping.DangerousAddRef(ref held);
            return BringInPages(PageOf(offset), PageOf(offset + (length - 1)) + 1, progressed);
        }
        catch (ObjectDisposedException)
        {
            return Libc.ECANCELED;
        }
        finally
        {
            if (held)
                _mapping.DangerousRelease();
        }
    }

    /// <summary>Watches no more since all has arrived, as the other side says. Lets go of everybody who waits.</summary>
    internal void Complete()
    {
        if (_over || _lost)
            return;
        _over = true; // before anybody goes on
        LetGo();
    }

    /// <summary>Watches no more. Lets go of everybody who waits; what is missing in memory that is watched beside where it is used is lost then, and elsewhere as any other memory.</summary>
    public void Dispose()
    {
        if (!_ownsMapping)
        {
            Complete();
        }
        else if (!_over && !_lost)
        {
            _lost = true;
            LetGo();
        }
    }

    /// <summary>In this order: whoever is let go of in a mapping that can be written to brings a page of zeros in.</summary>
    private void LetGo()
    {
        if (_ownsMapping && Libc.mprotect(_start, WatchedBytes, Libc.PROT_NONE) != 0)
            return; // the kernel has no memory left: better to wait than to go on
        _faults.Release(_start, WatchedBytes);
        if (_ownsMapping)
            _mapping.Dispose();
    }

    /// <summary>Page by page: whoever waits with a limit waits so long for each.</summary>
    private int BringInPages(ulong page, ulong end, Action? progressed)
    {
        for (; page < end; page++)
        {
            if (Arrived.Contains(page))
                continue;
            int errno = !_ownsMapping && Settled.Contains(page) ? Make(page) : Populate(page);
            if (_over || _lost)
                return Libc.ECANCELED;
            if (errno != 0)
                return errno;
            Arrived.Add(page);
            progressed?.Invoke();
        }

        return 0;
    }

    private int Populate(ulong page)
    {
        while (Libc.madvise(_start + (nint)(page * _memory.PageSize), (nuint)_memory.PageSize, Libc.MADV_POPULATE_WRITE) != 0)
        {
            int errno = Marshal.GetLastPInvokeError();
            if (errno is not (Libc.EINTR or Libc.EAGAIN))
                return errno;
        }

        return 0;
    }

    private ulong PageOf(ulong offset) => (_lead + offset) / _memory.PageSize;

    private ulong PagesOf(ulong offset, ulong length) => PageOf(offset + (length - 1)) - PageOf(offset) + 1;
}
