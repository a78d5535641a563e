using System.Diagnostics;
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
    public async Task A_packet_that_the_guest_cannot_be_given_is_not_among_those_that_it_was()
    {
        string path = _folder.File("b.pcapng");
        byte[] fits;
        await using (SwitchLoopback net = await SwitchLoopback.StartAsync(
            new NetSwitchOptions { Ports = [new(), new() { CaptureFile = path }] }, port => new NetClientOptions { Mergeable = port == 0 }))
        {
            fits = net[0].FrameTo(1, 2);
            await net[0].SendAsync(net[0].FrameTo(1, 1, length: 5000)); // more than a buffer of the other one, which has agreed to no merging
            await net[0].SendAsync(fits);
            (await net[1].ReceiveAsync()).Should().Equal(fits);
            net.PortStatistics(1).ToPort.Refused.Should().Be(1);
        }

        CaptureFile.Read(path).Packets.Should().ContainSingle().Which.Bytes.Should().Equal(fits);
    }

    [Fact]
    public async Task A_pipe_that_nobody_reads_holds_up_no_start_and_who_reads_it_later_finds_everything()
    {
        string path = _folder.File("pipe");
        (await ChildProcess.RunAsync("mkfifo", path)).ExitCode.Should().Be(0);
        PacketPool pool = new(1);
        pool.TryRent(out PacketBuffer? packet).Should().BeTrue();
        packet!.TryCopyFrom(new byte[200]).Should().BeTrue();
        using MemoryStream read = new();
        Task reading;
        using (PacketCapture capture = new(path, "pipe", TimeProvider.System))
        {
            capture.Record([packet], isInbound: true);
            FileStream pipe = new(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite, bufferSize: 0);
            reading = Task.Run(() =>
            {
                using (pipe)
                    pipe.CopyTo(read);
            });
        }

        await reading.InTime();
        await File.WriteAllBytesAsync(_folder.File("read"), read.ToArray());
        CaptureFile.Read(_folder.File("read")).Packets.Should().ContainSingle().Which.Bytes.Should().Equal(new byte[200]);
    }

    [Fact]
    public void Files_that_take_nothing_hold_up_the_end_together_as_long_as_one_would()
    {
        SlowFile[] files = [.. Enumerable.Range(0, 6).Select(_ => new SlowFile())];
        PacketCapture[] captures = [.. files.Select(file => new PacketCapture(file, "slow", TimeProvider.System))];
        TimeSpan longest = TimeSpan.FromSeconds(1);
        long since = Stopwatch.GetTimestamp();

        PacketCapture.End(captures, longest);

        Stopwatch.GetElapsedTime(since).Should().BeLessThan(4 * longest);
        foreach (SlowFile file in files)
            file.Let.Set();
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
