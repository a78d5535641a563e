using System.IO.MemoryMappedFiles;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Documentation;

/// <summary>The code of docs/hypervisors.md, run with a guest that the test plays.</summary>
public sealed class HypervisorSnippets : IDisposable
{
    private const ulong RamSize = 1 << 20;

    private static readonly TimeSpan _patience = TimeSpan.FromSeconds(10);

    private readonly TempFolder _folder = new();
    private readonly CancellationTokenSource _stop = new(TimeSpan.FromSeconds(60));
    private readonly SharedMemory _ram = SharedMemory.CreateSealed("guest", RamSize);
    private readonly EventNotifier _kick = new();
    private readonly EventNotifier _call = new();
    private readonly MemoryStorage _storage = new(1 << 20);

    private static GuestAddress RingAt => new(0x10000);

    public void Dispose()
    {
        _storage.Dispose();
        _call.Dispose();
        _kick.Dispose();
        _ram.Dispose();
        _stop.Dispose();
        _folder.Dispose();
    }

    [Theory]
    [InlineData(VirtioFeatures.Version1, 1)]
    [InlineData(VirtioFeatures.Version1 | VirtioFeatures.RingPacked, 0x8003)]
    public async Task A_guest_is_attached(VirtioFeatures acknowledged, int stoppedAt)
    {
        await using VhostUserBackend backend = new(new BlockDevice(_storage));
        string socket = _folder.File("s");
        Task serving = backend.ListenAsync(socket, _stop.Token);
        (await AttachAsync(socket, acknowledged, _stop.Token)).Should().Be((ushort)stoppedAt);
        await _stop.CancelAsync();
        await serving.InTime();
    }

    [Fact]
    public async Task A_host_without_a_guest_drives_a_ring_of_its_own()
    {
        await using VhostUserBackend backend = new(new BlockDevice(_storage));
        (VhostUserConnection frontEnd, VhostUserConnection backEnd) = VhostUserConnection.CreatePair();
        Task serving = backend.ServeAsync(backEnd, _stop.Token);
        using GuestMemory memory = GuestMemory.Create(new GuestMemoryRegion(new GuestAddress(0), _ram));
        await using (VhostUserFrontend device = await VhostUserFrontend.StartAsync(frontEnd))
        {
            await device.SetMemoryAsync(memory);
            await DriveAsync(device, memory, _kick, _call, _stop.Token);
        }

        await serving.InTime();
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task A_network_device_has_pairs_of_queues(int pairs)
    {
        await using VhostUserBackend backend = new(new NetDevice(new NetDeviceOptions { QueuePairs = 2 }));
        (VhostUserConnection frontEnd, VhostUserConnection backEnd) = VhostUserConnection.CreatePair();
        Task serving = backend.ServeAsync(backEnd, _stop.Token);
        await using (VhostUserFrontend device = await VhostUserFrontend.StartAsync(frontEnd, NetworkOptions(pairs)))
        {
            device.QueueCount.Should().Be(2 * pairs);
            device.Summary.ToString().Should().Contain("MRG_RXBUF");
        }

        await serving.InTime();
    }

    [Fact]
    public async Task A_guest_at_work_is_copied()
    {
        await using VhostUserBackend backend = new(new BlockDevice(_storage));
        (VhostUserConnection frontEnd, VhostUserConnection backEnd) = VhostUserConnection.CreatePair();
        Task serving = backend.ServeAsync(backEnd, _stop.Token);
        using SharedMemory low = SharedMemory.CreateSealed("guest", RamSize / 2);
        using SharedMemory high = SharedMemory.CreateSealed("plugged", RamSize / 2);
        using GuestMemory memory = GuestMemory.Create(new GuestMemoryRegion(new GuestAddress(0), low));
        VhostUserFrontendOptions options = new() { RequiredProtocolFeatures = VhostUserProtocolFeatures.LogShmFd };
        await using (VhostUserFrontend device = await VhostUserFrontend.StartAsync(frontEnd, options))
        {
            await device.SetMemoryAsync(memory);
            GuestMemory all = await device.AddMemoryAsync(new GuestMemoryRegion(new GuestAddress(RamSize / 2), high));
            List<ulong> sent = [];
            Action copyAll = () => { };
            Action<GuestMemoryRegion, ulong, ulong> copyRange = (region, offset, length) => sent.AddRange(PagesOf(region.GuestAddress.Value + offset, length));
            await LogAsync(device, copyAll, copyRange, async () => await DriveAsync(device, all, _kick, _call, _stop.Token), _stop.Token);
            sent.Should().Contain(0x81000UL, "what the disk gave, in memory that was plugged").And.NotContain(0x80000UL, "the disk only read the header");
        }

        await serving.InTime();
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_guest_that_has_acknowledged_less_than_was_wanted_goes_on_with_the_next_back_end(bool notesRequests)
    {
        string socket = _folder.File("s");
        VhostUserFrontendOptions options = new()
        {
            WantedFeatures = VirtioFeatures.Version1 | VirtioFeatures.RingPacked | VirtioFeatures.EventIndex,
            RequiredProtocolFeatures = VhostUserProtocolFeatures.InflightShmFd,
        };
        using GuestMemory memory = GuestMemory.Create(new GuestMemoryRegion(new GuestAddress(0), _ram));
        using DriverVirtqueue guest = DriverVirtqueue.Create(memory, RingAt, new DriverVirtqueueOptions { Size = 64 }, VirtioFeatures.Version1);
        VringSettings[] settings = [guest.Describe(0, _kick, _call)];
        VhostUserFrontend lost = null!;
        InflightRegion? region = null;
        await ServeAsync(socket, async () =>
        {
            lost = await VhostUserFrontend.ConnectAsync(socket, options, _stop.Token);
            await lost.SetFeaturesAsync(VirtioFeatures.Version1);
            await lost.SetMemoryAsync(memory);
            if (notesRequests)
            {
                region = (await lost.CreateInflightRegionAsync(1, 64))!;
                await lost.UseInflightRegionAsync(region);
            }

            await lost.StartVringsAsync(settings);
            Exchange(guest, memory, _kick, _call);
        });
        await Eventually.TrueAsync(() => lost.Completion.IsCompleted);
        VirtioFeatures acknowledged = VirtioFeatures.None;
        Func<VhostUserFrontend, Task> restoreDevice = next =>
        {
            acknowledged = next.AcknowledgedFeatures;
            return Task.CompletedTask;
        };

        await using (lost)
        using (region)
        {
            await ServeAsync(socket, async () =>
            {
                await using VhostUserFrontend next = await ReplaceAsync(socket, options, lost, memory, restoreDevice, region, settings, _stop.Token);
                Exchange(guest, memory, _kick, _call);
            });
        }

        (acknowledged & ~VirtioFeatures.VhostUserProtocolFeatures).Should().Be(VirtioFeatures.Version1);
    }

    /// <summary>One back-end, from its beginning to its end.</summary>
    private async Task ServeAsync(string socket, Func<Task> use)
    {
        using CancellationTokenSource end = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token);
        await using VhostUserBackend backend = new(new BlockDevice(_storage));
        Task serving = backend.ListenAsync(socket, end.Token);
        await use();
        await end.CancelAsync();
        await serving.InTime();
    }

    private static async Task<VhostUserFrontend> ReplaceAsync(
        string socket, VhostUserFrontendOptions options, VhostUserFrontend lost, GuestMemory memory, Func<VhostUserFrontend, Task> restoreDevice, InflightRegion? region, VringSettings[] settings, CancellationToken stop)
    {
        // snippet: replace
        VhostUserFrontend next = await VhostUserFrontend.ConnectAsync(socket, options with { Replaces = lost.Summary }, stop);
        await next.SetFeaturesAsync(lost.AcknowledgedFeatures & ~VirtioFeatures.LogAll, stop); // the guest's choice
        await next.SetMemoryAsync(memory, stop);                                               // as it is by now

        await restoreDevice(next);                                                             // what the driver had set: below
        if (region is not null)
            await next.UseInflightRegionAsync(region, stop);
        else
            settings = [.. settings.Select(ring => ring with { Base = VringRestart.Of(memory, ring, lost.AcknowledgedFeatures).Base })]; // unless one `NeedsReset`: below
        IReadOnlyList<FrontendVring> rings = await next.StartVringsAsync(settings, stop);

        // end
        rings.Should().ContainSingle();
        return next;
    }

    private static IEnumerable<ulong> PagesOf(ulong from, ulong length)
    {
        for (ulong at = from; at < from + length; at += DirtyLog.PageSize)
            yield return at;
    }

    private static async Task LogAsync(
        VhostUserFrontend device, Action copyAll, Action<GuestMemoryRegion, ulong, ulong> copyRange, Func<Task> stopRings, CancellationToken stop)
    {
        // snippet: log
        await device.StartLoggingAsync(stop);
        copyAll(); // only now: what the back-end writes from here on is in the log

        await stopRings(); // before that as many passes of what follows as it takes, until little is left
        IReadOnlyList<GuestMemoryRegion> regions = device.Memory.Regions; // with what was plugged meanwhile
        ulong[] pages = new ulong[DirtyRuns.WordsFor(regions.Max(region => region.Size))]; // one for all passes
        foreach (GuestMemoryRegion region in regions)
        {
            foreach (DirtyRun run in device.TakeDirty(region, pages)) // neighbouring pages are one run
                copyRange(region, run.Offset, run.Length);
        }

        await device.StopLoggingAsync(stop);

        // end
    }

    private static VhostUserFrontendOptions NetworkOptions(int pairs)
    {
        // snippet: network
        VhostUserFrontendOptions options = new()
        {
            WantedFeatures = VirtioFeatures.Version1 | VirtioFeatures.RingPacked | (VirtioFeatures)(ulong)(VirtioNetFeatures.Mac | VirtioNetFeatures.MergeableBuffers
                | VirtioNetFeatures.MultiQueue | VirtioNetFeatures.ControlQueue),
            WantedProtocolFeatures = new VhostUserFrontendOptions().WantedProtocolFeatures | VhostUserProtocolFeatures.NetMtu | VhostUserProtocolFeatures.Rarp,
            Queues = 2 * pairs,
            QueuesWithoutMultiQueue = 2,
            QueueNumberCountsPairs = true,
            FeatureName = FeatureNames.OfNetBit,
        };

        // end
        return options;
    }

    /// <returns>Where the ring was stopped.</returns>
    private async Task<ushort> AttachAsync(string socket, VirtioFeatures acknowledgedByGuest, CancellationToken stop)
    {
        using MemoryMappedFile mapping = MemoryMappedFile.CreateFromFile(
            _ram.Descriptor, null, (long)RamSize, MemoryMappedFileAccess.ReadWrite, HandleInheritability.None, leaveOpen: true);
        using MemoryMappedViewAccessor view = mapping.CreateViewAccessor();
        nint address = view.SafeMemoryMappedViewHandle.DangerousGetHandle();
        SafeFileHandle descriptor = _ram.Descriptor;
        ulong length = RamSize;
        using GuestMemory guestsView = GuestMemory.Create(new GuestMemoryRegion(new GuestAddress(0), _ram));
        using DriverVirtqueue guest = DriverVirtqueue.Create(guestsView, RingAt, new DriverVirtqueueOptions { Size = 64 }, acknowledgedByGuest);
        GuestQueue[] guestQueues = [GuestQueue.From(guest.Describe(0, _kick, _call))];

        // snippet: attach
        // RAM that you own: descriptor, offset in it, length, and the address where you have mapped it. It is not mapped again and never unmapped.
        using SharedMemory ram = SharedMemory.FromCallerOwned(descriptor, offset: 0, length, address);
        GuestMemory memory = GuestMemory.Create(new GuestMemoryRegion(new GuestAddress(0), ram));

        // What your model of the device can show to a guest. All else has a default: time-outs, protocol features, where logs go.
        VhostUserFrontendOptions options = new()
        {
            WantedFeatures = VirtioFeatures.Version1 | VirtioFeatures.EventIndex | VirtioFeatures.IndirectDescriptors | VirtioFeatures.RingPacked
                | (VirtioFeatures)(ulong)(VirtioBlkFeatures.BlockSize | VirtioBlkFeatures.Flush | VirtioBlkFeatures.MultiQueue),
            Queues = 4,
            FeatureName = FeatureNames.OfBlockBit,
        };
        await using VhostUserFrontend device = await VhostUserFrontend.ConnectAsync(socket, options, stop);
        VirtioFeatures offeredToGuest = device.OfferedFeatures & (options.WantedFeatures | options.RequiredFeatures);

        // When the guest sets FEATURES_OK.
        await device.SetFeaturesAsync(acknowledgedByGuest & offeredToGuest, stop);

        // When the guest sets DRIVER_OK. Settings are what the guest wrote to the queue's registers of your virtio transport, and the notifications.
        // Without a `Base` a ring begins afresh, split or packed, as the guest has acknowledged.
        await device.SetMemoryAsync(memory, stop);
        VringSettings[] settings = [.. guestQueues.Select(queue => new VringSettings
        {
            Index = queue.Number,
            Size = queue.Size,
            DescriptorTable = new GuestAddress(queue.DescriptorArea),
            AvailableRing = new GuestAddress(queue.DriverArea),
            UsedRing = new GuestAddress(queue.DeviceArea),
            Kick = EventNotifier.Duplicate(queue.IoEventFd),
            Call = EventNotifier.Duplicate(queue.IrqFd),
        })];
        IReadOnlyList<FrontendVring> rings = await device.StartVringsAsync(settings, stop);

        // end
        offeredToGuest.Should().HaveFlag(VirtioFeatures.RingPacked).And.NotHaveFlag(VirtioFeatures.InOrder);
        Exchange(guest, guestsView, _kick, _call);
        VringBase stopped = await rings[0].StopAsync(stop);
        foreach (VringSettings one in settings)
        {
            one.Kick!.Dispose();
            one.Call!.Dispose();
        }

        memory.Dispose();
        return stopped.AvailableIndex;
    }

    private static async Task DriveAsync(VhostUserFrontend device, GuestMemory memory, EventNotifier kick, EventNotifier call, CancellationToken stop)
    {
        GuestAddress ringAt = RingAt;

        // snippet: drive
        DriverVirtqueueOptions shape = new() { Size = 256 };
        using DriverVirtqueue driver = DriverVirtqueue.Create(memory, ringAt, shape, device.AcknowledgedFeatures);
        FrontendVring ring = await device.StartVringAsync(driver.Describe(0, kick, call), stop);

        // end
        Exchange(driver, memory, kick, call);
        (await ring.StopAsync(stop)).AvailableIndex.Should().Be(1);
    }

    /// <summary>One read of one sector, as the driver of a guest does it.</summary>
    private static void Exchange(DriverVirtqueue driver, GuestMemory memory, EventNotifier kick, EventNotifier call)
    {
        GuestBuffer header = new(new GuestAddress(0x80000), VirtioBlkRequestHeader.Size);
        GuestBuffer data = new(new GuestAddress(0x81000), VirtioBlkRequestHeader.SectorSize);
        GuestBuffer status = new(new GuestAddress(0x82000), 1);
        using GuestMemoryLease lease = memory.Acquire();
        lease.TryWrite(header.Address, new VirtioBlkRequestHeader(VirtioBlkRequestType.In, 0, 0)).Should().BeTrue();
        lease.TryWrite(status.Address, (byte)0xFF).Should().BeTrue();
        driver.TrySubmit([header], [data, status], token: 7).Should().BeTrue();
        driver.Publish();
        kick.Signal();
        DriverCompletion[] completions = new DriverCompletion[1];
        while (driver.Drain(completions) == 0)
        {
            driver.ArmCall();
            call.Wait(_patience).Should().BeTrue();
            call.TryConsume();
        }

        lease.TryRead(status.Address, out byte answer).Should().BeTrue();
        answer.Should().Be((byte)VirtioBlkStatus.Ok);
        completions[0].Token.Should().Be(7);
    }

    /// <summary>What a hypervisor knows of a queue.</summary>
    private sealed record GuestQueue(int Number, ushort Size, ulong DescriptorArea, ulong DriverArea, ulong DeviceArea, SafeHandle IoEventFd, SafeHandle IrqFd)
    {
        internal static GuestQueue From(VringSettings ring) => new(
            ring.Index, ring.Size, ring.DescriptorTable.Value, ring.AvailableRing.Value, ring.UsedRing.Value, ring.Kick!.Descriptor, ring.Call!.Descriptor);
    }
}
