using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Migration;

/// <summary>What one session says when it stops, another one goes on from: in this process, and in another.</summary>
public sealed class SnapshotTests
{
    internal const ulong RamSize = 1 << 20;

    private const ushort Entries = 16;

    internal static readonly VhostUserFrontendOptions Options = new()
    {
        WantedProtocolFeatures = new VhostUserFrontendOptions().WantedProtocolFeatures | VhostUserProtocolFeatures.InflightShmFd
            | VhostUserProtocolFeatures.GetVringBaseInflight | VhostUserProtocolFeatures.GetVringBaseSkipDrain | VhostUserProtocolFeatures.LogShmFd,
    };

    [Fact]
    public async Task Another_process_goes_on_with_the_requests_that_were_under_way()
    {
        using TempFolder folder = new();
        using TempSocket socket = new();
        string ram = folder.File("ram");
        string snapshot = folder.File("snapshot");
        using SharedMemory file = SharedMemory.CreateFileBacked(ram, RamSize);
        using GuestMemory memory = GuestMemory.Create(new GuestMemoryRegion(default, file));
        using EventNotifier kick = new();
        using DriverVirtqueue driver = DriverVirtqueue.Create(memory, default, new DriverVirtqueueOptions { Size = Entries }, VirtioFeatures.Version1);
        HoldingDevice first = new() { Answers = 2 };
        await using (Served served = await Served.StartAsync(first))
        {
            await served.Frontend.SetFeaturesAsync(VirtioFeatures.Version1);
            await served.Frontend.SetMemoryAsync(memory);
            using InflightRegion region = (await served.Frontend.CreateInflightRegionAsync(1, Entries))!;
            await served.Frontend.UseInflightRegionAsync(region);
            await served.Frontend.StartLoggingAsync();
            await served.Frontend.StartVringAsync(driver.Describe(0, kick, call: null));
            Submit(memory, driver, 0, 6);
            kick.Signal();
            await Eventually.TrueAsync(() => first.Seen.Count == 6);
            await File.WriteAllBytesAsync(snapshot, (await served.Frontend.SuspendAsync().InTime()).ToBytes());
        }

        HoldingDevice second = new();
        using CancellationTokenSource stop = new();
        await using VhostUserBackend backend = new(second);
        Task serving = backend.ListenAsync(socket.Path, stop.Token);
        await using (ChildProcess resumed = ResumedFrontend.Start(socket.Path, snapshot, ram, requests: 6))
        {
            ChildProcess.Outcome outcome = await resumed.EndAsync();
            outcome.ExitCode.Should().Be(0, string.Join(" | ", outcome.Errors));
            outcome.Output.Should().Equal("logging=True base=6");
        }

        second.Seen.Should().Equal(2, 3, 4, 5);
        DriverCompletion[] done = new DriverCompletion[Entries];
        driver.Drain(done).Should().Be(6);
        done.Take(6).Select(one => one.Token).Should().Equal(0, 1, 2, 3, 4, 5);
        await stop.CancelAsync();
        await serving.InTime();
    }

    [Theory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(VirtioFeatures.RingPacked)]
    public async Task A_session_goes_on_from_its_own_snapshot_when_the_migration_is_given_up(VirtioFeatures features)
    {
        await using MovedRing ring = new(features);
        HoldingDevice device = new() { Answers = 1 };
        await ring.AttachAsync(device);
        ring.Submit(3);
        await Eventually.TrueAsync(() => device.Seen.Count == 3);
        VringSettings before = ring.Ring.Settings;
        FrontendSnapshot stopped = await ring.Frontend.SuspendAsync().InTime();
        stopped.Rings.Should().ContainSingle().Which.Kick.Should().BeNull();

        device.Answers = int.MaxValue;
        await ring.Frontend.ResumeAsync(FrontendSnapshot.Parse(stopped.ToBytes()), one => one with { Kick = before.Kick, Call = before.Call }).InTime();
        ring.Collect(3).Should().Equal(0, 1, 2);
        ring.Submit(2);
        ring.Collect(2).Should().Equal(3, 4);
    }

    [Theory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(VirtioFeatures.RingPacked)]
    public async Task A_session_that_was_given_a_region_of_its_own_goes_on_with_the_requests_that_were_under_way(VirtioFeatures features)
    {
        await using MovedRing ring = new(features);
        HoldingDevice first = new() { Answers = 1 };
        await ring.AttachAsync(first);
        ring.Submit(3);
        await Eventually.TrueAsync(() => first.Seen.Count == 3);
        VringSettings before = ring.Ring.Settings;
        byte[] bytes = (await ring.Frontend.SuspendAsync().InTime()).ToBytes();
        await ring.DetachAsync();

        HoldingDevice second = new();
        await using Served served = await Served.StartAsync(second);
        await served.Frontend.SetMemoryAsync(ring.Memory);
        await served.Frontend.SetFeaturesAsync(FrontendSnapshot.Parse(bytes).AcknowledgedFeatures);
        using InflightRegion other = (await served.Frontend.CreateInflightRegionAsync(1, MovedRing.Entries * 2))!;
        await served.Frontend.UseInflightRegionAsync(other);
        Func<Task> resume = () => served.Frontend.ResumeAsync(FrontendSnapshot.Parse(bytes), one => one with { Kick = before.Kick, Call = before.Call }).InTime();
        (await resume.Should().ThrowAsync<InvalidOperationException>()).WithMessage("*snapshot is of another one*");
        second.Seen.Should().BeEmpty();

        using InflightRegion own = (await served.Frontend.CreateInflightRegionAsync(1, MovedRing.Entries))!;
        await served.Frontend.UseInflightRegionAsync(own);
        await resume();
        ring.Collect(3).Should().Equal(0, 1, 2);
        second.Seen.Should().Equal(1, 2);
        ring.Submit(2);
        ring.Collect(2).Should().Equal(3, 4);
    }

    [Fact]
    public async Task What_does_not_fit_is_refused_before_anything_is_said()
    {
        await using MovedRing ring = new(VirtioFeatures.None);
        await ring.AttachAsync(new HoldingDevice());
        FrontendSnapshot stopped = await ring.Frontend.SuspendAsync().InTime();

        using GuestMemory other = GuestRam.Create(2 << 20);
        await using Served served = await Served.StartAsync(new HoldingDevice());
        Func<Task> resume = () => served.Frontend.ResumeAsync(stopped, one => one).InTime();
        (await resume.Should().ThrowAsync<ArgumentException>()).WithMessage("*1048576 bytes*this session has []*");
        await served.Frontend.SetMemoryAsync(other);
        (await resume.Should().ThrowAsync<ArgumentException>()).WithMessage("*2097152 bytes*");
        await served.Frontend.SetMemoryAsync(ring.Memory);
        Func<Task> moved = () => served.Frontend.ResumeAsync(stopped, one => one with { Size = 8 }).InTime();
        (await moved.Should().ThrowAsync<ArgumentException>()).WithMessage("Ring 0 came back changed*");
    }

    [Fact]
    public async Task A_snapshot_of_any_bytes_is_read_whole_or_refused_in_one_way()
    {
        await using MovedRing ring = new(VirtioFeatures.RingPacked);
        HoldingDevice device = new() { Answers = 0 };
        await ring.AttachAsync(device);
        ring.Submit(3);
        await Eventually.TrueAsync(() => device.Seen.Count == 3);
        byte[] good = (await ring.Frontend.SuspendAsync().InTime()).ToBytes();
        FrontendSnapshot.Parse(good).ToBytes().Should().Equal(good);
        Random random = new(7);
        int taken = 0;
        for (int turn = 0; turn < 20_000; turn++)
        {
            byte[] bad = [.. good];
            for (int change = random.Next(1, 4); change > 0; change--)
                bad[random.Next(random.Next(2) == 0 ? 160 : bad.Length)] = (byte)random.Next(256);
            bad = bad[..(random.Next(4) == 0 ? random.Next(bad.Length + 1) : bad.Length)];
            bool rightSum = random.Next(3) > 0 && bad.Length > 48;
            if (rightSum)
                Sign(bad);
            try
            {
                FrontendSnapshot.Parse(bad).ToBytes().Should().Equal(bad, "what is taken says the same in the same bytes");
                taken++;
            }
            catch (InvalidDataException e)
            {
                e.Message.Should().StartWith("snapshot: ");
            }
        }

        taken.Should().BePositive("many a change is a snapshot of something else");
        ((Action)(() => FrontendSnapshot.Parse([]))).Should().Throw<InvalidDataException>().WithMessage("*magic number*");
    }

    private static void Sign(byte[] snapshot)
    {
        "VHOSTFES"u8.CopyTo(snapshot);
        BitConverter.TryWriteBytes(snapshot.AsSpan(8), 1u);
        BitConverter.TryWriteBytes(snapshot.AsSpan(12), snapshot.Length - 48);
        System.Security.Cryptography.SHA256.HashData(snapshot.AsSpan(48), snapshot.AsSpan(16));
    }

    private static void Submit(GuestMemory memory, DriverVirtqueue driver, ulong first, int count)
    {
        using GuestMemoryLease lease = memory.Acquire();
        for (ulong token = first; token < first + (ulong)count; token++)
        {
            GuestAddress at = new(0x8_0000 + (token * 0x1000));
            lease.TryWrite(at, token).Should().BeTrue();
            driver.TrySubmit([new GuestBuffer(at, 8)], [], token).Should().BeTrue();
        }

        driver.Publish();
    }

    private sealed class Served(VhostUserBackend backend, Task serving, VhostUserFrontend frontend) : IAsyncDisposable
    {
        public VhostUserFrontend Frontend => frontend;

        public static async Task<Served> StartAsync(IVhostUserDevice device)
        {
            (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
            VhostUserBackend backend = new(device);
            Task serving = Task.Run(() => backend.ServeAsync(back));
            return new Served(backend, serving, await VhostUserFrontend.StartAsync(front, Options));
        }

        public async ValueTask DisposeAsync()
        {
            await frontend.DisposeAsync();
            await serving.InTime();
            await backend.DisposeAsync();
        }
    }
}
