using Microsoft.Win32.SafeHandles;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Iommu;

/// <summary>
/// A guest whose kernel maps each buffer for one request alone, at addresses that are soon used again for other memory: a translation that is kept too long reads or writes something else. Rings lie at addresses
/// of the IOMMU too.
/// </summary>
internal sealed class StrictGuest : IDisposable
{
    internal const int Page = 4096;
    internal const ulong RingsAt = 0x1_0000_0000;
    internal const ulong DataAt = 0x2_0000_0000;
    private const ulong RingWindow = 0xF000_0000;
    private const ulong DataWindow = 0x10_0000_0000;
    internal const int DataPages = 512;
    private const int WindowPages = 700;

    /// <summary>Of memory for rings that is scattered; each is a region of its own.</summary>
    private const int RingPages = 128;

    private readonly Lock _gate = new();
    private readonly Random _random = new(11);
    private readonly GuestMemoryLease _lease;
    private readonly bool[] _pageUsed = new bool[DataPages];
    private readonly bool[] _windowUsed = new bool[WindowPages];
    private readonly bool _scattersRings;
    private ulong _ringBytes;

    /// <param name="scattersRings">The pages of rings lie anywhere in the guest's memory.</param>
    internal StrictGuest(bool scattersRings = false)
    {
        _scattersRings = scattersRings;
        Iommu = new IommuMappings { LargestTranslation = Page };
        GuestMemoryRegion rings = GuestRam.Region(RingsAt, scattersRings ? RingPages * Page : 1UL << 20);
        GuestMemoryRegion data = GuestRam.Region(DataAt, DataPages * Page);
        GuestMemoryRegion[] shown = [.. scattersRings ? Enumerable.Range(0, RingPages).Select(page => OnePage(rings.Memory, page)) : [rings], data];
        Memory = GuestMemory.Create(shown);
        RingView = GuestMemory.Create(new GuestMemoryRegion(new GuestAddress(RingWindow), rings.Memory));
        foreach (GuestMemoryRegion region in shown)
            region.Memory.Dispose();
        rings.Memory.Dispose();
        _lease = Memory.Acquire();
    }

    /// <summary>What the device's addresses go through.</summary>
    internal IommuMappings Iommu { get; }

    /// <summary>What the back-end is given.</summary>
    internal GuestMemory Memory { get; }

    /// <summary>What the driver's own half sees of its rings: the addresses that it tells the device.</summary>
    internal GuestMemory RingView { get; }

    internal int Mapped => Iommu.Count;

    /// <summary>Maps room for a ring.</summary>
    internal GuestAddress MapRing(ulong bytes)
    {
        ulong size = (bytes + Page - 1) / Page * Page;
        ulong offset = _ringBytes;
        _ringBytes += size + Page;
        MapRingPages(offset, size);
        return new GuestAddress(RingWindow + offset);
    }

    /// <summary>Where a byte that the device knows by its address of the IOMMU lies in the guest's memory: the pages of a ring do not follow each other.</summary>
    internal GuestAddress InMemory(GuestAddress ring)
    {
        ulong offset = ring.Value - RingWindow;
        return _scattersRings ? AtPage((int)(offset / Page), offset % Page) : new GuestAddress(RingsAt + offset);
    }

    /// <summary>Takes a ring away from the device and gives it back: the same addresses, the same memory.</summary>
    internal async Task BounceRingAsync(GuestAddress ring, ulong bytes, Func<Task>? meanwhile = null)
    {
        ulong size = (bytes + Page - 1) / Page * Page;
        await Iommu.UnmapAsync(new IoVirtualAddress(ring.Value), size).InTime();
        if (meanwhile is not null)
            await meanwhile();
        MapRingPages(ring.Value - RingWindow, size);
    }

    /// <summary>Puts bytes into pages that lie anywhere.</summary>
    internal StrictBuffer Take(int length, VhostUserIotlbPermission permission, ReadOnlySpan<byte> content = default)
    {
        lock (_gate)
        {
            int offset = _random.Next(Page);
            int[] pages = [.. Enumerable.Range(0, (offset + length + Page - 1) / Page).Select(_ => TakePage())];
            StrictBuffer buffer = new(pages, TakeWindow(pages.Length), offset, length, permission);
            Write(buffer, content.IsEmpty ? Filler(length) : content);
            return buffer;
        }
    }

    internal void Map(StrictBuffer buffer)
    {
        for (int i = 0; i < buffer.Pages.Length; i++)
            Iommu.Map(At(buffer.Window + i), new GuestAddress(DataAt + ((ulong)buffer.Pages[i] * Page)), Page, buffer.Permission);
    }

    internal async Task UnmapAsync(StrictBuffer buffer) => await Iommu.UnmapAsync(At(buffer.Window), (ulong)(buffer.Pages.Length * Page)).InTime();

    /// <summary>The memory is somebody else's from now on, as are its addresses.</summary>
    internal void Free(StrictBuffer buffer)
    {
        lock (_gate)
        {
            Write(buffer, Filler(buffer.Length));
            foreach (int page in buffer.Pages)
                _pageUsed[page] = false;
            Array.Fill(_windowUsed, false, buffer.Window, buffer.Pages.Length);
        }
    }

    /// <summary>Address and length as they stand in a descriptor.</summary>
    internal static GuestBuffer Describe(StrictBuffer buffer) => new(new GuestAddress(At(buffer.Window).Value + (ulong)buffer.Offset), (uint)buffer.Length);

    internal byte[] Read(StrictBuffer buffer)
    {
        byte[] bytes = new byte[buffer.Length];
        ForEachPiece(buffer, (at, from, count) => _lease.TryCopyTo(at, bytes.AsSpan(from, count)).Should().BeTrue());
        return bytes;
    }

    public void Dispose()
    {
        _lease.Dispose();
        RingView.Dispose();
        Memory.Dispose();
    }

    /// <summary>Every other page from the end on.</summary>
    private static GuestAddress AtPage(int page, ulong offset = 0) => new(RingsAt + ((ulong)(RingPages - 1 - page) * 2 * Page) + offset);

    private static GuestMemoryRegion OnePage(SharedMemory rings, int page)
    {
        SafeFileHandle again = File.OpenHandle($"/proc/self/fd/{rings.Descriptor.DangerousGetHandle()}", FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
        return new GuestMemoryRegion(AtPage(page), SharedMemory.Map(again, (ulong)(page * Page), Page));
    }

    private void MapRingPages(ulong offset, ulong size)
    {
        ulong step = _scattersRings ? Page : size;
        for (ulong done = 0; done < size; done += step)
            Iommu.Map(new IoVirtualAddress(RingWindow + offset + done), InMemory(new GuestAddress(RingWindow + offset + done)), step);
    }

    private static IoVirtualAddress At(int window) => new(DataWindow + ((ulong)window * Page));

    private void Write(StrictBuffer buffer, ReadOnlySpan<byte> content)
    {
        byte[] bytes = content.ToArray();
        ForEachPiece(buffer, (at, from, count) => _lease.TryCopyFrom(bytes.AsSpan(from, count), at).Should().BeTrue());
    }

    private static void ForEachPiece(StrictBuffer buffer, Action<GuestAddress, int, int> use)
    {
        for (int done = 0; done < buffer.Length;)
        {
            int at = buffer.Offset + done;
            int count = Math.Min(Page - (at % Page), buffer.Length - done);
            use(new GuestAddress(DataAt + ((ulong)buffer.Pages[at / Page] * Page) + (ulong)(at % Page)), done, count);
            done += count;
        }
    }

    private byte[] Filler(int length)
    {
        byte[] bytes = new byte[length];
        _random.NextBytes(bytes);
        return bytes;
    }

    private int TakePage()
    {
        int page;
        do
            page = _random.Next(DataPages);
        while (_pageUsed[page]);
        _pageUsed[page] = true;
        return page;
    }

    private int TakeWindow(int pages)
    {
        int window;
        do
            window = _random.Next(WindowPages - pages);
        while (_windowUsed.AsSpan(window, pages).Contains(true));
        Array.Fill(_windowUsed, true, window, pages);
        return window;
    }
}

/// <summary>A buffer of some pages.</summary>
/// <param name="Pages">Which, in order.</param>
/// <param name="Window">The number of the first page of the IOMMU that it is mapped at.</param>
/// <param name="Offset">Where it begins in the first page.</param>
/// <param name="Length">Its bytes.</param>
/// <param name="Permission">What the device may do.</param>
internal sealed record StrictBuffer(int[] Pages, int Window, int Offset, int Length, VhostUserIotlbPermission Permission);
