using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Tests.Support;

namespace Vhost.Protocol.Tests;

/// <summary>Memory that is still under way, with real page faults.</summary>
[Collection(ProcessCounts.Name)]
public sealed class IncomingMemoryTests : IDisposable
{
    private const ulong Page = 4096;
    private const ulong Size = 64 * Page;

    private readonly ProcessCounts _before = ProcessCounts.Snapshot();
    private readonly UserFaults _faults = UserFaults.Open();
    private readonly SharedMemory _memory = SharedMemory.CreateSealed("incoming", Size);

    public void Dispose()
    {
        _memory.Dispose();
        _faults.Dispose();
        _before.AssertBack();
    }

    [Fact]
    public async Task Whoever_brings_a_range_in_waits_for_each_of_its_pages_and_no_other()
    {
        using IncomingMemory incoming = IncomingMemory.Beside(_memory, _faults);
        int progress = 0;
        Task<int> waits = Task.Run(() => incoming.BringIn((3 * Page) + 5, 2 * Page, () => progress++));
        byte[] page = new byte[Page];
        for (ulong i = 3; i < 6; i++)
        {
            ulong address = await NextFaultAsync();
            address.Should().Be(incoming.WatchedAddress + (i * Page));
            waits.IsCompleted.Should().BeFalse();
            page.AsSpan().Fill((byte)i);
            _faults.Place((nint)address, page, out _).Should().Be((int)Page);
        }

        (await waits.InTime()).Should().Be(0);
        progress.Should().Be(3, "each page counts");
        incoming.RunFrom(3 * Page, Size - (3 * Page)).Should().Be(3 * Page);
        incoming.RunFrom(2 * Page, Page).Should().Be(0);
        incoming.Arrived.Count.Should().Be(3);
        using GuestMemory table = GuestMemory.Create(new GuestMemoryRegion(default, _memory));
        using GuestMemoryLease lease = table.Acquire();
        byte[] read = new byte[3 * Page];
        lease.TryCopyTo(new GuestAddress(3 * Page), read).Should().BeTrue();
        read.Should().Equal([.. Enumerable.Repeat((byte)3, 4096), .. Enumerable.Repeat((byte)4, 4096), .. Enumerable.Repeat((byte)5, 4096)]);
    }

    [Fact]
    public async Task The_collector_runs_while_somebody_waits()
    {
        IncomingMemory incoming = IncomingMemory.Beside(_memory, _faults);
        Task<int> waits = Task.Run(() => incoming.BringIn(0, 1));
        await NextFaultAsync();
        for (int i = 0; i < 50; i++)
            GC.Collect();
        waits.IsCompleted.Should().BeFalse();
        incoming.Dispose();
        (await waits.InTime()).Should().Be(Libc.ECANCELED);
        incoming.Arrived.Count.Should().Be(0);
        FileHoles.IsHoleFrom(_memory.Descriptor, 0).Should().BeTrue("a page of zeros would be the guest's from now on");
        incoming.BringIn(0, 1).Should().Be(Libc.ECANCELED);
        FileHoles.IsHoleFrom(_memory.Descriptor, 0).Should().BeTrue();
    }

    [Fact]
    public async Task One_who_is_let_go_of_finds_no_page_and_makes_none()
    {
        IncomingMemory incoming = IncomingMemory.Beside(_memory, _faults);
        using GuestMemory table = GuestMemory.Create(new GuestMemoryRegion(default, _memory));
        using GuestMemoryLease lease = table.Acquire();
        Task<bool> reads = Task.Run(() => lease.TryRead(new GuestAddress(7 * Page), out byte _));
        await NextFaultAsync();

        incoming.Dispose();

        (await reads.InTime()).Should().BeFalse();
        lease.TryWrite(new GuestAddress(8 * Page), (byte)1).Should().BeFalse();
        RegionWindow window = new(table);
        window.TryResolve(7 * Page, 1, out _, out _).Should().BeFalse();
        window.HasAbsent.Should().BeFalse("it is not awaited");
        FileHoles.IsHoleFrom(_memory.Descriptor, 0).Should().BeTrue();
    }

    [Fact]
    public async Task What_the_kernel_cannot_bring_in_is_neither_read_nor_written()
    {
        using SharedMemory memory = SharedMemory.Map(NewFile(4 * Page), 0, 4 * Page);
        using IncomingMemory incoming = IncomingMemory.Beside(memory, _faults);
        using GuestMemory table = GuestMemory.Create(new GuestMemoryRegion(default, memory));
        using GuestMemoryLease lease = table.Acquire();
        Libc.ftruncate(memory.Descriptor, (long)Page).Should().Be(0);
        byte[] bytes = [1, 2, 3];

        bool read = await Task.Run(() => lease.TryCopyTo(new GuestAddress(2 * Page), bytes)).InTime();
        bool written = await Task.Run(() => lease.TryCopyFrom(bytes, new GuestAddress(2 * Page))).InTime();

        read.Should().BeFalse();
        written.Should().BeFalse();
        bytes.Should().Equal(1, 2, 3);
    }

    private static SafeFileHandle NewFile(ulong size)
    {
        SafeFileHandle file = Libc.memfd_create("short", 0);
        Libc.ftruncate(file, (long)size).Should().Be(0);
        return file;
    }

    [Fact]
    public async Task One_who_looks_through_a_window_sees_what_has_arrived_and_learns_what_has_not()
    {
        using IncomingMemory incoming = IncomingMemory.Beside(_memory, _faults);
        using GuestMemory table = GuestMemory.Create(new GuestMemoryRegion(new GuestAddress(0x10000), _memory));
        RegionWindow window = new(table);
        window.TryResolve(0x10000 + Page, 100, out _, out _).Should().BeFalse();
        window.TryTakeAbsent(out AbsentRange absent).Should().BeTrue();
        absent.Should().Be(new AbsentRange(incoming, Page, 100));
        window.TryTakeAbsent(out _).Should().BeFalse("it is forgotten");
        await BringInAsync(incoming, page: 1);

        window.TryResolve(0x10000 + Page, 100, out nint address, out uint contiguous).Should().BeTrue();
        contiguous.Should().Be(100);
        address.Should().Be(_memory.Address + (nint)Page);
        window.TryResolveHere(0x10000 + (2 * Page) - 8, 8, out _).Should().BeTrue();
        window.TryResolveHere(0x10000 + (2 * Page) - 8, 9, out _).Should().BeFalse("the window ends where absence begins");
        window.TryResolve(0x10000 + (2 * Page) - 8, 9, out _, out _).Should().BeFalse();
        window.TryTakeAbsent(out absent).Should().BeTrue();
        absent.Should().Be(new AbsentRange(incoming, 2 * Page, 1));
        window.TryResolve(0x10000 - 1, 1, out _, out _).Should().BeFalse();
        window.HasAbsent.Should().BeFalse("that is no memory at all");

        incoming.Complete();
        window.TryResolve(0x10000, (uint)Size, out _, out contiguous).Should().BeTrue("nothing is awaited any more");
        contiguous.Should().Be((uint)Size);
    }

    [Fact]
    public async Task One_who_reads_by_a_lease_waits_for_what_he_reads()
    {
        using IncomingMemory incoming = IncomingMemory.Beside(_memory, _faults);
        using GuestMemory table = GuestMemory.Create(new GuestMemoryRegion(default, _memory));
        using GuestMemoryLease lease = table.Acquire();
        Task<byte> reads = Task.Run(() => lease.TryRead(new GuestAddress(7 * Page), out byte value) ? value : throw new InvalidOperationException());
        ulong address = await NextFaultAsync();
        GC.Collect();
        _faults.Place((nint)address, Enumerable.Repeat((byte)9, (int)Page).ToArray(), out _);

        (await reads.InTime()).Should().Be(9);
    }

    [Fact]
    public void Memory_that_starts_inside_a_page_counts_from_the_page()
    {
        using SharedMemory inside = SharedMemory.Map(Libc.Duplicate(_memory.Descriptor), Page + 100, 2 * Page);
        using IncomingMemory incoming = IncomingMemory.Beside(inside, _faults);
        incoming.Arrived.Pages.Should().Be(3);
        (incoming.WatchedAddress % Page).Should().Be(100);
        incoming.RunFrom(0, 1).Should().Be(0);
        incoming.Arrived.Add(0);
        incoming.RunFrom(0, 2 * Page).Should().Be(Page - 100);
        incoming.Arrived.Add(1);
        incoming.Arrived.Add(2);
        incoming.RunFrom(0, 2 * Page).Should().Be(2 * Page);
    }

    [Fact]
    public void Memory_on_a_disk_cannot_be_watched()
    {
        string path = Path.Combine(RepositoryRoot.File("tests"), $"memory-{Guid.NewGuid():n}");
        try
        {
            using SharedMemory onDisk = SharedMemory.CreateFileBacked(path, Size);
            Action watch = () => IncomingMemory.Beside(onDisk, _faults).Dispose();
            watch.Should().Throw<LinuxException>().WithMessage("*UFFDIO_REGISTER*");
            onDisk.Incoming.Should().BeNull();
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public void A_page_is_placed_once_and_what_is_there_stays()
    {
        using IncomingMemory incoming = IncomingMemory.InPlace(_memory, _faults);
        byte[] first = [.. Enumerable.Repeat((byte)1, (int)Page)];
        byte[] second = [.. Enumerable.Repeat((byte)2, 2 * (int)Page)];
        nint start = (nint)incoming.WatchedAddress;
        _faults.Place(start, first, out int errno).Should().Be((int)Page);
        errno.Should().Be(0);
        _faults.Place(start, second, out errno).Should().Be(0);
        errno.Should().Be(Libc.EEXIST);
        _faults.Place(start + (int)Page, second, out _).Should().Be(2 * (int)Page);
        _faults.Place(start + (int)Size, first, out errno).Should().Be(0);
        errno.Should().Be(Libc.ENOENT, "nothing is watched there");
        _faults.Read(new ulong[4]).Should().Be(0, "nobody waits");
    }

    [Fact]
    public void What_is_no_userfaultfd_is_none()
    {
        using EventNotifier notifier = new();
        FluentActions.Invoking(() => UserFaults.Of(notifier.Descriptor)).Should().Throw<VhostUserProtocolException>().WithMessage("*eventfd*");
        FluentActions.Invoking(() => UserFaults.Of(_memory.Descriptor)).Should().Throw<VhostUserProtocolException>().WithMessage("*no userfaultfd*");
        using UserFaults again = UserFaults.Of(_faults.Duplicate());
        again.Read(new ulong[1]).Should().Be(0);
    }

    /// <summary>Before Linux 6.10 no read of a userfaultfd can be told not to wait.</summary>
    [Fact]
    public async Task F01_A_descriptor_whose_owner_has_it_wait_is_not_read_the_old_way_either()
    {
        using IncomingMemory incoming = IncomingMemory.Beside(_memory, _faults);
        using UserFaults ours = UserFaults.Of(_faults.Duplicate(), mayWait: true);
        ulong[] addresses = new ulong[4];
        ours.Read(addresses).Should().Be(0);
        Task<int> waits = Task.Run(() => incoming.BringIn(0, 1));
        using (ReactorRegistration registration = Reactor.Shared.Register(ours.Descriptor))
            await registration.ReadableAsync(CancellationToken.None).InTime();
        ours.Read(addresses).Should().Be(1);
        addresses[0].Should().Be(incoming.WatchedAddress);

        fcntl(ours.Descriptor, 4, 0).Should().Be(0);

        (await Task.Run(() => ours.Read(addresses)).InTime()).Should().Be(0);
        _faults.Place((nint)incoming.WatchedAddress, new byte[Page], out _).Should().Be((int)Page);
        (await waits.InTime()).Should().Be(0);
    }

    /// <summary>Whoever reads that a process was forked is given the child's userfaultfd.</summary>
    [SkippableFact]
    public async Task F04_What_is_no_fault_is_refused_and_leaves_no_descriptor_behind()
    {
        using SafeFileHandle descriptor = Libc.OpenUserFaults();
        ulong[] wanted = [0xAA, 2, 0];
        Skip.If(ioctl(descriptor, 0xC018AA3F, wanted) != 0, "this user may not ask for forks");
        using UserFaults forked = UserFaults.Of(Libc.Duplicate(descriptor));
        using IncomingMemory incoming = IncomingMemory.Beside(_memory, forked);
        using ReactorRegistration registration = Reactor.Shared.Register(forked.Descriptor);
        ProcessCounts before = ProcessCounts.Snapshot();

        Task<int> child = Task.Run(ForkAndExit);
        await registration.ReadableAsync(CancellationToken.None).InTime();
        forked.Invoking(one => one.Read(new ulong[16])).Should().Throw<VhostUserProtocolException>().WithMessage("*event 0x13*no page fault*");

        waitpid(await child.InTime(), 0, 0x4000_0000).Should().BePositive();
        before.AssertBack();
    }

    /// <summary>The child runs no code of ours.</summary>
    private static int ForkAndExit()
    {
        const int Stack = 1 << 16;
        nint stack = Marshal.AllocHGlobal(Stack);
        int child = clone(NativeLibrary.GetExport(NativeLibrary.Load("libc.so.6"), "_exit"), (stack + Stack) & ~15, 0, 0);
        Marshal.FreeHGlobal(stack);
        return child;
    }

    [DllImport("libc")]
    private static extern int clone(nint function, nint stack, int flags, nint argument);

    [DllImport("libc")]
    private static extern int waitpid(int process, nint status, int options);

    [DllImport("libc")]
    private static extern int ioctl(SafeHandle descriptor, nuint request, ulong[] argument);

    [DllImport("libc")]
    private static extern int fcntl(SafeHandle descriptor, int command, nint argument);

    [SkippableFact]
    public async Task Huge_pages_come_as_a_whole()
    {
        SharedMemory huge;
        try
        {
            huge = SharedMemory.CreateSealed("huge", 4 << 20, HugePages.TwoMegabytes);
        }
        catch (LinuxException e)
        {
            throw new SkipException(e.Message, e);
        }

        using (huge)
        using (IncomingMemory incoming = IncomingMemory.Beside(huge, _faults))
        {
            incoming.Arrived.Pages.Should().Be(2);
            Task<int> waits = Task.Run(() => incoming.BringIn(3 << 20, 1));
            ulong address = await NextFaultAsync();
            (address / (2 << 20) * (2 << 20)).Should().Be(incoming.WatchedAddress + (2 << 20));
            _faults.Place((nint)(address / (2 << 20) * (2 << 20)), new byte[2 << 20], out _).Should().Be(2 << 20);
            (await waits.InTime()).Should().Be(0);
            incoming.RunFrom(2 << 20, 2 << 20).Should().Be(2 << 20);
        }
    }

    private async Task BringInAsync(IncomingMemory incoming, ulong page)
    {
        Task<int> waits = Task.Run(() => incoming.BringIn(page * Page, 1));
        _faults.Place((nint)await NextFaultAsync(), new byte[Page], out _);
        (await waits.InTime()).Should().Be(0);
    }

    private async Task<ulong> NextFaultAsync()
    {
        using ReactorRegistration registration = Reactor.Shared.Register(_faults.Descriptor);
        ulong[] addresses = new ulong[1];
        while (_faults.Read(addresses) == 0)
            await registration.ReadableAsync(CancellationToken.None).InTime();
        return addresses[0];
    }
}
