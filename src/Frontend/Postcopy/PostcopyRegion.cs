using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>One region of memory that is under way: which of its pages are there, and who waits for which of the others. Any thread.</summary>
internal sealed class PostcopyRegion : IDisposable
{
    /// <summary>Bytes that are placed while others who place wait, unless a page is larger.</summary>
    private const int MostBytesAtOnce = 1 << 20;

    private readonly Lock _gate = new();
    private readonly Lock _placing = new();
    private readonly Dictionary<ulong, PageWait> _waits = [];
    private readonly IncomingMemory _incoming;
    private readonly UserFaults _own;
    private bool _ended;

    /// <exception cref="ArgumentException">The region does not consist of whole pages.</exception>
    /// <exception cref="LinuxException">Its memory cannot be watched.</exception>
    public PostcopyRegion(GuestMemoryRegion region, UserFaults own)
    {
        PageSize = region.Memory.PageSize;
        if (((ulong)region.Memory.Address | region.Size | region.GuestAddress.Value) % PageSize != 0)
            throw new ArgumentException(string.Create(CultureInfo.InvariantCulture, $"The {region} does not consist of whole pages of 0x{PageSize:x} bytes, which migration needs."));
        (Region, _own) = (region, own);
        _incoming = IncomingMemory.InPlace(region.Memory, own);
    }

    public GuestMemoryRegion Region { get; }

    public ulong PageSize { get; }

    /// <summary>Where faults of this process are told with.</summary>
    public ulong OwnAddress => _incoming.WatchedAddress;

    public ulong MissingBytes => (Settled.Pages - Settled.Count) * PageSize;

    /// <summary>The pages that were placed or said to be there.</summary>
    private ArrivedPages Settled => _incoming.Settled;

    /// <summary>Somebody waits for a page.</summary>
    /// <param name="page">Which, from the start of the region.</param>
    /// <param name="waker">Has him look again; called at once when the page is there already.</param>
    /// <returns>Whether the page is to be asked for: nobody has waited for it before.</returns>
    /// <exception cref="LinuxException">It is empty, and there is no memory for it; he goes on waiting.</exception>
    public bool Await(ulong page, PageWaker waker)
    {
        lock (_gate)
        {
            if (!Settled.Contains(page))
            {
                bool isFirst = !_waits.TryGetValue(page, out PageWait? wait);
                (wait ??= _waits[page] = new PageWait()).Wakers.Add(waker);
                return isFirst;
            }
        }

        Make(page);
        waker.Wake();
        return false;
    }

    /// <summary>Somebody wants to know when a page is there, which may be empty then (<see cref="MakeEmpty"/>).</summary>
    /// <returns>Completes then; null when it is. The flag says as above whether it is to be asked for.</returns>
    public (Task? Arrival, bool IsFirst) AwaitAsync(ulong page)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_ended, typeof(PostcopyMigration));
            if (Settled.Contains(page))
                return (null, false);
            bool isFirst = !_waits.TryGetValue(page, out PageWait? wait);
            wait ??= _waits[page] = new PageWait();
            return (wait.Arrival.Task, isFirst);
        }
    }

    /// <summary>Somebody is about to touch pages that are there: those that are empty are made.</summary>
    /// <exception cref="LinuxException">There is no memory for them.</exception>
    public void MakeEmpty(ulong first, ulong count)
    {
        for (ulong page = first; page < first + count; page++)
        {
            if (!_incoming.Arrived.Contains(page))
                Make(page);
        }
    }

    private void Make(ulong page)
    {
        int errno = _incoming.Make(page);
        if (errno != 0)
            throw new LinuxException(string.Create(CultureInfo.InvariantCulture, $"fallocate(0x{PageSize:x} bytes at offset 0x{page * PageSize:x} of the {Region})"), errno);
    }

    /// <summary>Places pages as far as they are not there yet, and wakes everybody who waits for one of them.</summary>
    /// <returns>How many were new.</returns>
    /// <exception cref="InvalidDataException">There is something where nobody has placed anything.</exception>
    /// <exception cref="LinuxException">The kernel does not take them.</exception>
    public int Place(ulong offset, ReadOnlySpan<byte> pages)
    {
        int most = (int)Math.Max(PageSize, MostBytesAtOnce);
        int added = 0;
        while (!pages.IsEmpty)
        {
            int done = PlaceNext(offset, pages[..Math.Min(most, pages.Length)], ref added);
            pages = pages[done..];
            offset += (ulong)done;
        }

        return added;
    }

    /// <returns>Bytes that are there now.</returns>
    private int PlaceNext(ulong offset, ReadOnlySpan<byte> pages, ref int added)
    {
        ulong page = offset / PageSize;
        ulong count = (ulong)pages.Length / PageSize;
        lock (_placing) // what another thread has placed, or said to be there, is known when this one meets it
        {
            ulong there = Settled.RunFrom(page, count);
            if (there > 0)
                return (int)(there * PageSize); // they stay as they are, in the file or not
            pages = pages[..(int)(Settled.GapFrom(page, count) * PageSize)];
            int placed = _own.Place((nint)(OwnAddress + offset), pages, out int errno);
            if (placed > 0)
            {
                Arrived(page, (ulong)placed / PageSize);
                added += placed / (int)PageSize; // whoever waited for one may have seen it first
                return placed;
            }

            if (errno != Libc.EEXIST)
                throw new LinuxException(string.Create(CultureInfo.InvariantCulture, $"ioctl(UFFDIO_COPY, {pages.Length} bytes at offset 0x{offset:x} of the {Region})"), errno);
        }

        throw new InvalidDataException(string.Create(
            CultureInfo.InvariantCulture,
            $"The page of 0x{PageSize:x} bytes at guest 0x{Region.GuestAddress.Value + offset:x} is there although it has not arrived: somebody has gone on without it, or has written to it. What is in it is not the guest's."));
    }

    /// <summary>Throws pages out of the file, none of which may have arrived.</summary>
    /// <exception cref="InvalidOperationException">One of them has.</exception>
    /// <exception cref="LinuxException">They stay in the file.</exception>
    public void Discard(ulong offset, ulong length)
    {
        ulong first = offset / PageSize;
        lock (_placing) // what was just placed is known to have arrived
        {
            lock (_gate)
            {
                RequireMissing(first, length / PageSize);
                PunchHole(offset, length);
            }
        }
    }

    private void RequireMissing(ulong first, ulong count)
    {
        for (ulong page = first; page < first + count; page++)
        {
            if (Settled.Contains(page))
                throw new InvalidOperationException(string.Create(CultureInfo.InvariantCulture, $"The page at offset 0x{page * PageSize:x} of the {Region} has arrived, and may be in use: it cannot be discarded."));
        }
    }

    /// <summary>Pages are what is in the file; where it has a hole they are empty, and it keeps the hole until somebody touches it.</summary>
    public void Found(ulong offset, ulong length)
    {
        ulong first = offset / PageSize;
        ulong count = length / PageSize;
        List<PageWait> over = [];
        lock (_placing)
        {
            lock (_gate)
            {
                Settled.AddRun(first, count);
                foreach (ulong page in _waits.Keys.Where(one => one >= first && one - first < count).ToArray())
                {
                    _waits.Remove(page, out PageWait? wait);
                    over.Add(wait!);
                }
            }
        }

        foreach (PageWait wait in over)
            wait.End(); // who waits looks again, and is given a page of zeros where there is none
    }

    /// <summary>Pages are in the file.</summary>
    private void Arrived(ulong first, ulong count)
    {
        for (ulong page = first; page < first + count; page++)
        {
            PageWait? wait;
            lock (_gate)
            {
                _incoming.Arrived.Add(page);
                Settled.Add(page);
                _waits.Remove(page, out wait);
            }

            wait?.End();
        }
    }

    private void PunchHole(ulong offset, ulong length)
    {
        int errno = length == 0 ? 0 : Libc.Allocate(Region.Memory.Descriptor, Libc.FALLOC_FL_PUNCH_HOLE | Libc.FALLOC_FL_KEEP_SIZE, Region.Memory.DescriptorOffset + offset, length);
        if (errno != 0)
            throw new LinuxException(string.Create(CultureInfo.InvariantCulture, $"fallocate(FALLOC_FL_PUNCH_HOLE, 0x{length:x} bytes at offset 0x{offset:x} of the {Region})"), errno);
    }

    /// <summary>Watches no more. Whoever still waits for a page in this process goes on without it.</summary>
    public void Dispose()
    {
        PageWait[] waits;
        lock (_gate)
        {
            _ended = true;
            waits = [.. _waits.Values];
            _waits.Clear();
        }

        _incoming.Dispose();
        foreach (PageWait wait in waits)
            wait.Fail();
    }

    /// <summary>Who waits for one page.</summary>
    private sealed class PageWait
    {
        /// <summary>One for each address at which somebody waits, however often he says so.</summary>
        public HashSet<PageWaker> Wakers { get; } = [];

        public TaskCompletionSource Arrival { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public void End()
        {
            foreach (PageWaker waker in Wakers)
                waker.Wake();
            Arrival.TrySetResult();
        }

        public void Fail()
        {
            Arrival.TrySetException(new ObjectDisposedException(nameof(PostcopyMigration), "The migration was ended before the page arrived."));
            _ = Arrival.Task.Exception;
        }
    }
}
