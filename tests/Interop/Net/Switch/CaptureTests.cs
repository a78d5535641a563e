using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>What passes a port is in a file, whole and with its direction, and nobody waits for the file.</summary>
public sealed class CaptureTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task A_capture_has_every_packet_of_its_port_with_time_and_direction()
    {
        string path = _folder.File("a.pcapng");
        FakeTimeProvider time = new();
        byte[][] frames;
        await using (SwitchLoopback net = await SwitchLoopback.StartAsync(
            new NetSwitchOptions { Ports = [new() { Name = "wing", CaptureFile = path }, new()], TimeProvider = time }, _ => new NetClientOptions()))
        {
            frames = [net[0].FrameTo(1, 1, 61), net[1].FrameTo(0, 2, 1514), net[0].FrameTo(1, 3, 9003)];
            await net[0].SendAsync(frames[0]);
            await net[1].ReceiveAsync();
            time.Advance(TimeSpan.FromTicks(12_345_678_901));
            await net[1].SendAsync(frames[1]);
            await net[0].ReceiveAsync();
            await net[0].SendAsync(frames[2]);
            await net[1].ReceiveAsync();
            await Eventually.TrueAsync(() => net.PortStatistics(0).Captured == 3);
        }

        CaptureFile file = CaptureFile.Read(path);
        file.InterfaceName.Should().Be("wing");
        (file.Received, file.Dropped).Should().Be((3, 0));
        file.Packets.Select(packet => packet.Bytes).Should().BeEquivalentTo(frames, order => order.WithStrictOrdering());
        file.Packets.Select(packet => packet.IsInbound).Should().Equal(true, false, true);
        DateTimeOffset start = DateTimeOffset.UnixEpoch.AddDays(1);
        file.Packets.Select(packet => packet.Time).Should().Equal(start, start.AddTicks(12_345_678_901), start.AddTicks(12_345_678_901));
    }

    [Fact]
    public void A_file_that_takes_nothing_loses_packets_and_holds_nobody_up()
    {
        using SlowFile slow = new();
        PacketPool pool = new(1);
        pool.TryRent(out PacketBuffer? packet).Should().BeTrue();
        packet!.TryCopyFrom(new byte[1500]).Should().BeTrue();
        const int packets = 3000; // 4.5 MB, and there is room for 2 MiB
        using (PacketCapture capture = new(slow, "slow", TimeProvider.System))
        {
            slow.Entered.Wait(Eventually.Deadline).Should().BeTrue();
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 0; i < packets; i++)
                capture.Record([packet], isInbound: true);
            (GC.GetAllocatedBytesForCurrentThread() - before).Should().Be(0);
            (capture.Captured + capture.Missed).Should().Be(packets);
            capture.Missed.Should().BeInRange(packets / 2, packets - 600);
            slow.Let.Set();
        }

        slow.Bytes.Should().BeGreaterThan(600 * 1500);
    }

    [Fact]
    public void A_file_that_fails_ends_the_capture_alone()
    {
        using FileStream full = new("/dev/full", FileMode.Open, FileAccess.Write, FileShare.ReadWrite, bufferSize: 0);
        PacketPool pool = new(1);
        pool.TryRent(out PacketBuffer? packet).Should().BeTrue();
        packet!.TryCopyFrom(new byte[64]).Should().BeTrue();
        using PacketCapture capture = new(full, "full", TimeProvider.System);
        SpinWait.SpinUntil(
            () =>
            {
                capture.Record([packet], isInbound: false);
                return capture.Missed > 0;
            },
            Eventually.Deadline).Should().BeTrue();
    }

    [Fact]
    public void A_file_that_cannot_be_made_is_told_and_leaves_no_other_open()
    {
        NetSwitchOptions options = new() { Ports = [new() { CaptureFile = _folder.File("a") }, new() { CaptureFile = _folder.File("none/b") }] };
        ((Action)(() => new NetSwitch(options).Dispose())).Should().Throw<IOException>();
        File.Open(_folder.File("a"), FileMode.Open, FileAccess.Write, FileShare.None).Dispose();
    }

    private sealed class SlowFile : MemoryStream
    {
        public ManualResetEventSlim Entered { get; } = new();

        public ManualResetEventSlim Let { get; } = new();

        public long Bytes { get; private set; }

        public override void Write(byte[] buffer, int offset, int count)
        {
            Entered.Set();
            Let.Wait(Eventually.Deadline);
            Bytes += count;
        }
    }
}
