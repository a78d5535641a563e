using System.Diagnostics.Metrics;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Status;

/// <summary>What an application may ask about its front-end and its queues.</summary>
public class StatusTests
{
    [Fact]
    public async Task Nobody_is_connected_so_there_is_no_status_but_there_are_figures()
    {
        await using VhostUserBackend backend = new(new EchoDevice(queues: 3));
        backend.GetStatus().Should().BeNull();
        backend.GetStatistics().Should().HaveCount(3).And.OnlyContain(queue => queue == default);
        backend.Name.Should().BeEmpty();
    }

    [Fact]
    public async Task The_status_says_what_was_negotiated_and_what_each_queue_does()
    {
        await using SessionBench bench = await SessionBench.StartAsync();
        (VhostUserBackend backend, RawFrontend frontend, TestGuest guest) = (bench.Backend, bench.Frontend, bench.Guest);
        await frontend.SendAsync(VhostUserRequest.SetStatus, RawFrontend.U64(7));
        TestRing ring = await bench.RunAsync();
        await ring.EchoAsync(1);
        await frontend.BarrierAsync();

        BackendStatus status = backend.GetStatus()!;

        status.Peer.Should().Contain("socket pair");
        status.Features.Should().HaveFlag(VirtioFeatures.Version1).And.NotHaveFlag(VirtioFeatures.RingPacked);
        status.OfferedFeatures.Should().HaveFlag(VirtioFeatures.Version1);
        status.ProtocolFeatures.Should().Be(status.OfferedProtocolFeatures);
        status.DeviceStatus.Should().Be(VirtioDeviceStatus.Acknowledge | VirtioDeviceStatus.Driver | VirtioDeviceStatus.DriverOk);
        status.Mtu.Should().BeNull();
        status.Memory.Should().Equal(new BackendMemoryRegion(guest.Region.GuestAddress, guest.Region.UserAddress, guest.Region.Size));
        status.TracksInflight.Should().BeFalse();
        status.HasBackendChannel.Should().BeFalse();
        status.Queues.Should().HaveCount(2);
        status.Queues[0].Should().Match<QueueStatus>(queue =>
            queue.State == QueueState.Running && queue.Size == TestRing.Size && queue.HasKick && queue.HasCall && queue.Address == ring.Address && queue.InFlight == 0
            && queue.Statistics.Completed == 1 && queue.Fault == VirtqueueFault.None && queue.FaultDetail == null);
        status.Queues[1].Should().Match<QueueStatus>(queue => queue.State == QueueState.Stopped && queue.Size == 0 && queue.Address == null);

        await frontend.StopAsync(ring);
        backend.GetStatus()!.Queues[0].Base.Should().Be(1, "that is where it goes on");

        await frontend.DisposeAsync();
        await bench.Served.InTime();
        backend.GetStatus().Should().BeNull();
        backend.GetStatistics()[0].Completed.Should().Be(1, "figures are the back-end's, not the session's");
    }

    [Fact]
    public async Task What_will_be_offered_is_known_before_anybody_comes()
    {
        await using VhostUserBackend backend = new(new EchoDevice(), new VhostUserBackendOptions
        {
            WithheldFeatures = VirtioFeatures.EventIndex,
            WithheldProtocolFeatures = VhostUserProtocolFeatures.InflightShmFd,
        });
        (VirtioFeatures features, VhostUserProtocolFeatures protocol) = (backend.OfferedFeatures, backend.OfferedProtocolFeatures);
        features.Should().HaveFlag(VirtioFeatures.Version1).And.HaveFlag(VirtioFeatures.VhostUserProtocolFeatures).And.NotHaveFlag(VirtioFeatures.EventIndex);
        protocol.Should().HaveFlag(VhostUserProtocolFeatures.Config).And.NotHaveFlag(VhostUserProtocolFeatures.InflightShmFd);

        (VhostUserConnection end, VhostUserConnection ours) = VhostUserConnection.CreatePair();
        _ = backend.ServeAsync(ours);
        await using RawFrontend frontend = new(end);
        await frontend.SendAsync(VhostUserRequest.SetOwner);

        (await frontend.AskU64Async(VhostUserRequest.GetFeatures)).Should().Be((ulong)features);
        (await frontend.AskU64Async(VhostUserRequest.GetProtocolFeatures)).Should().Be((ulong)protocol);
    }

    [Fact]
    public async Task A_running_queue_shows_what_is_offered_and_how_far_it_has_come()
    {
        await using SessionBench bench = await SessionBench.StartAsync();
        (VhostUserBackend backend, RawFrontend frontend) = (bench.Backend, bench.Frontend);
        TestRing ring = await bench.RunAsync();
        for (byte i = 0; i < 5; i++)
            await ring.EchoAsync(i);
        (backend.GetStatus()!.Queues[0].Base, backend.GetStatus()!.Queues[0].Available).Should().Be((5u, 0));

        await frontend.EnableAsync(ring, enable: false);
        await frontend.BarrierAsync();
        for (byte i = 0; i < 3; i++)
            ring.Submit(i);
        QueueStatus held = backend.GetStatus()!.Queues[0];

        (held.State, held.Base, held.Available).Should().Be((QueueState.Disabled, 5u, 3));
        backend.GetStatus()!.Queues[1].Available.Should().Be(0);
        await frontend.EnableAsync(ring);
        for (byte i = 0; i < 3; i++)
            await ring.ExpectEchoAsync(i);
        (backend.GetStatus()!.Queues[0].Base, backend.GetStatus()!.Queues[0].Available).Should().Be((8u, 0));
        (await frontend.StopAsync(ring)).Should().Be(8);
        backend.GetStatus()!.Queues[0].Available.Should().Be(0);
    }

    [Fact]
    public async Task Requests_that_the_device_keeps_are_in_flight()
    {
        EchoDevice device = new() { KeepRequests = true };
        await using SessionBench bench = await SessionBench.StartAsync(device);
        TestRing ring = await bench.RunAsync();
        ring.SubmitAndKick(1);
        ring.SubmitAndKick(2);
        await Eventually.TrueAsync(() => device.Kept.Count == 2);
        await Eventually.TrueAsync(() => bench.Backend.GetStatus()!.Queues[0].InFlight == 2);
        while (device.Kept.TryDequeue(out DetachedChain? chain))
            chain.Complete(0);
        await Eventually.TrueAsync(() => bench.Backend.GetStatus()!.Queues[0].InFlight == 0);
    }

    [Fact]
    public async Task Bits_that_are_withheld_are_not_offered()
    {
        await using SessionBench bench = new(options: new VhostUserBackendOptions
        {
            WithheldFeatures = VirtioFeatures.EventIndex,
            WithheldProtocolFeatures = VhostUserProtocolFeatures.InflightShmFd | VhostUserProtocolFeatures.ConfigureMemSlots,
        });
        await bench.Frontend.SendAsync(VhostUserRequest.SetOwner);
        ulong features = await bench.Frontend.AskU64Async(VhostUserRequest.GetFeatures);
        ulong protocol = await bench.Frontend.AskU64Async(VhostUserRequest.GetProtocolFeatures);

        ((VirtioFeatures)features).Should().NotHaveFlag(VirtioFeatures.EventIndex).And.HaveFlag(VirtioFeatures.IndirectDescriptors);
        ((VhostUserProtocolFeatures)protocol).Should().NotHaveFlag(VhostUserProtocolFeatures.InflightShmFd).And.NotHaveFlag(VhostUserProtocolFeatures.ConfigureMemSlots)
            .And.HaveFlag(VhostUserProtocolFeatures.ReplyAck);
    }

    [Fact]
    public async Task Whoever_listens_to_the_meter_sees_each_queue_of_each_back_end()
    {
        using TempSocket socket = new();
        using CancellationTokenSource stop = new();
        Dictionary<string, long> seen = new(StringComparer.Ordinal);
        using MeterListener listener = new();
        listener.InstrumentPublished = (instrument, self) =>
        {
            if (instrument.Meter.Name == VhostUserBackend.MeterName)
                self.EnableMeasurementEvents(instrument);
        };
        void Note(Instrument instrument, long value, ReadOnlySpan<KeyValuePair<string, object?>> tags)
        {
            Dictionary<string, object?> by = new(tags.ToArray(), StringComparer.Ordinal);
            if ((string?)by["backend"] == socket.Path)
                seen[by.TryGetValue("queue", out object? queue) ? $"{instrument.Name} {queue}" : instrument.Name] = value;
        }

        listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) => Note(instrument, value, tags));
        listener.SetMeasurementEventCallback<int>((instrument, value, tags, _) => Note(instrument, value, tags));
        listener.Start();
        await using VhostUserBackend backend = new(new EchoDevice());
        Task serving = backend.ListenAsync(socket.Path, stop.Token);
        using TestGuest guest = new();
        using TestRing ring = new(guest, 1);
        await using RawFrontend frontend = await RawFrontend.ConnectAsync(socket.Path);
        await frontend.NegotiateAsync();
        await frontend.AddMemoryAsync(guest);
        await frontend.StartAsync(ring);
        await ring.EchoAsync(1);
        await ring.EchoAsync(2);

        listener.RecordObservableInstruments();

        seen.Should().Contain("vhost.backend.connections", 1).And.Contain("vhost.queue.requests 1", 2).And.Contain("vhost.queue.requests 0", 0).And.Contain("vhost.queue.calls 1", 2)
            .And.Contain("vhost.queue.faults 1", 0).And.Contain("vhost.queue.in_flight 1", 0);
        await stop.CancelAsync();
        await serving.InTime();
        await backend.DisposeAsync();
        seen.Clear();
        listener.RecordObservableInstruments();
        seen.Should().BeEmpty("a back-end that was disposed is measured no more");
    }
}
