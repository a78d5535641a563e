using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>A ring that is stopped, a region that is removed, a front-end that goes away: while the kernel reads into the guest's memory.</summary>
[Collection(ProcessCounts.Name)]
public sealed class FileInFlightTests : IDisposable
{
    private const int Megabytes = 64;
    private const int Requests = 60;
    private readonly TempImage _image = new(0);

    public FileInFlightTests()
    {
        byte[] content = new byte[1 << 20];
        new Random(3).NextBytes(content);
        using FileStream file = File.OpenWrite(_image.Path);
        for (int i = 0; i < Megabytes; i++)
            file.Write(content);
    }

    public static TheoryData<QueueDispatch, FileCache> Ways => new()
    {
        { QueueDispatch.Async, FileCache.None },
        { QueueDispatch.Async, FileCache.WriteBack },
        { QueueDispatch.DedicatedThread, FileCache.None },
        { QueueDispatch.BusyPoll, FileCache.None },
    };

    public void Dispose() => _image.Dispose();

    [SkippableTheory]
    [MemberData(nameof(Ways))]
    public async Task R19_a_ring_that_is_stopped_first_answers_what_the_kernel_works_on(QueueDispatch dispatch, FileCache cache)
    {
        using FileStorage storage = Open(cache);
        await using FileSession session = await FileSession.StartAsync(storage, new VhostUserBackendOptions { Dispatch = dispatch });
        await FloodAsync(session);
        uint next = await session.StopRingAsync();
        next.Should().Be(Requests, "all were taken in one turn, before the first was answered");
        session.UsedIndex.Should().Be(Requests);
        session.AllRead(Requests, pieces: 1);
        session.Data.ReadBytes(0, 4096).Should().Equal(File.ReadAllBytes(_image.Path)[..4096]);
        session.Log.Entries.Should().NotContain(entry => entry.Level >= Microsoft.Extensions.Logging.LogLevel.Warning);
    }

    [SkippableTheory]
    [MemberData(nameof(Ways))]
    public async Task R19_a_region_is_given_up_only_when_the_kernel_has_let_go_of_it(QueueDispatch dispatch, FileCache cache)
    {
        using FileStorage storage = Open(cache);
        await using FileSession session = await FileSession.StartAsync(storage, new VhostUserBackendOptions { Dispatch = dispatch });
        await session.Frontend.RemoveMemoryAsync(session.Data);
        ProcessCounts before = ProcessCounts.Snapshot();
        await session.Frontend.AddMemoryAsync(session.Data);
        await FloodAsync(session);
        await session.Frontend.RemoveMemoryAsync(session.Data);
        session.AwaitUsed(Requests);
        session.AllRead(Requests, pieces: 1);
        (await session.StopRingAsync()).Should().Be(Requests);
        ProcessCounts.Snapshot().Mappings.Should().Be(before.Mappings);
    }

    [SkippableTheory]
    [MemberData(nameof(Ways))]
    public async Task R19_a_front_end_that_goes_away_leaves_nothing_behind(QueueDispatch dispatch, FileCache cache)
    {
        using (FileStorage first = Open(cache))
        {
        }

        ProcessCounts before = ProcessCounts.Snapshot();
        using (FileStorage storage = Open(cache))
        {
            await using FileSession session = await FileSession.StartAsync(storage, new VhostUserBackendOptions { Dispatch = dispatch });
            await FloodAsync(session);
        }

        before.AssertBack();
        using FileStorage again = Open(cache);
    }

    [SkippableTheory]
    [MemberData(nameof(Ways))]
    public async Task R19_a_reset_waits_for_the_kernel_and_the_ring_can_start_again(QueueDispatch dispatch, FileCache cache)
    {
        using FileStorage storage = Open(cache);
        await using FileSession session = await FileSession.StartAsync(storage, new VhostUserBackendOptions { Dispatch = dispatch });
        await FloodAsync(session);
        await session.Frontend.AcceptedAsync(VhostUserRequest.ResetDevice);
        session.UsedIndex.Should().Be(Requests);
        session.AllRead(Requests, pieces: 1);
        await session.Frontend.SendAsync(VhostUserRequest.SetFeatures, RawFrontend.U64((ulong)(session.Device.Features & ~VirtioFeatures.RingPacked) | (1UL << 30)));
        session.Ring.AvailableIndex = 0;
        session.Ring.UsedIndex = 0;
        await FloodAsync(session);
        session.AwaitUsed(Requests);
        session.AllRead(Requests, pieces: 1);
    }

    [SkippableTheory]
    [InlineData(QueueDispatch.Async)]
    [InlineData(QueueDispatch.DedicatedThread)]
    [InlineData(QueueDispatch.BusyPoll)]
    public async Task R19_a_ring_that_does_not_come_to_rest_in_time_costs_the_connection_and_leaves_its_memory_to_the_kernel_until_it_has(QueueDispatch dispatch)
    {
        using (FileStorage first = Open(FileCache.None))
        {
        }

        ProcessCounts before = ProcessCounts.Snapshot();
        FakeTimeProvider time = new();
        bool tookAndLeft = false;
        for (int round = 0; !tookAndLeft; round++)
        {
            round.Should().BeLessThan(100, "the kernel cannot be faster each time");
            using FileStorage storage = Open(FileCache.None);
            await using FileSession session = await FileSession.StartAsync(storage, new VhostUserBackendOptions { Dispatch = dispatch, TimeProvider = time });
            for (int slot = 0; slot < Requests; slot++)
                session.Submit(slot, VirtioBlkRequestType.In, (ulong)slot * 2048 % (48 * 2048), pieces: 16);
            await session.StartRingAsync();
            session.AwaitUsed(1);
            Task<uint> stopping = session.StopRingAsync();
            while (!stopping.IsCompleted)
            {
                time.Advance(TimeSpan.FromSeconds(1));
                await Task.Yield();
            }

            tookAndLeft = !stopping.IsCompletedSuccessfully;
            if (!tookAndLeft)
            {
                (await stopping).Should().Be(session.UsedIndex, "a base goes past nothing that is not answered");
                continue;
            }

            await stopping.Awaiting(static task => task).Should().ThrowAsync<EndOfStreamException>();
            session.Log.Lines.Should().Contain(line => line.Contains("the device did not complete within", StringComparison.Ordinal));
        }

        before.AssertBack();
    }

    [SkippableTheory]
    [MemberData(nameof(Ways))]
    public async Task R19_a_guest_that_rewrites_everything_while_the_kernel_reads_reaches_nothing_else(QueueDispatch dispatch, FileCache cache)
    {
        byte[] content = File.ReadAllBytes(_image.Path);
        using FileStorage storage = Open(cache);
        await using FileSession session = await FileSession.StartAsync(storage, new VhostUserBackendOptions { Dispatch = dispatch });
        using TestGuest bystander = new(slot: 2);
        byte[] pattern = BlockRequestTests.Pattern((int)TestGuest.Size);
        bystander.WriteBytes(0, pattern);
        using CancellationTokenSource stop = new();
        Task rewriting = Task.Run(() => Rewrite(session, bystander, stop.Token));
        // A worker that gets no processor in time is stopped before it has looked at the ring.
        for (int round = 0; round < 30 || (session.Device.Statistics.Served == 0 && round < 3000); round++)
        {
            session.Ring.AvailableIndex = 0;
            session.Ring.UsedIndex = 0;
            for (int slot = 0; slot < Requests; slot++)
                session.Submit(slot, VirtioBlkRequestType.In, (ulong)slot * 64, pieces: 1 + (slot % 3));
            await session.StartRingAsync();
            session.Kick();
            await session.StopRingAsync();
        }

        await stop.CancelAsync();
        await rewriting;
        bystander.ReadBytes(0, pattern.Length).AsSpan().SequenceEqual(pattern).Should().BeTrue("this region was never given away");
        File.ReadAllBytes(_image.Path).AsSpan().SequenceEqual(content).Should().BeTrue("nobody wrote");
        session.Device.Statistics.Served.Should().BePositive();
    }

    /// <summary>Lengths and addresses good and bad, the bystander's among them; types that change nothing.</summary>
    private static void Rewrite(FileSession session, TestGuest bystander, CancellationToken stop)
    {
        Random random = new(5);
        ulong[] places = [session.Data.GuestStart.Value, session.Data.Guest(TestGuest.Size - 512).Value, bystander.GuestStart.Value, ulong.MaxValue - 511, 0];
        uint[] lengths = [512, 4096, 1 << 19, (uint)TestGuest.Size, (uint)TestGuest.Size + 512, 0, uint.MaxValue];
        while (!stop.IsCancellationRequested)
        {
            (ulong table, ulong header) = session.PlacesOf(random.Next(Requests));
            session.Ring.DescriptorAt(
                table + (16 * (ulong)random.Next(1, 4)), places[random.Next(places.Length)], lengths[random.Next(lengths.Length)],
                (ushort)random.Next(4), (ushort)random.Next(6));
            session.Ring.Put(header, (uint)(random.Next(4) == 0 ? VirtioBlkRequestType.Flush : VirtioBlkRequestType.In));
            session.Ring.Put(header + 8, (ulong)random.Next(Megabytes * 2048 * 2));
        }
    }

    /// <summary>Has the kernel at work on many reads, of which the first was answered.</summary>
    private static async Task FloodAsync(FileSession session)
    {
        for (int slot = 0; slot < Requests; slot++)
            session.Submit(slot, VirtioBlkRequestType.In, (ulong)slot * 2048, pieces: 1);
        await session.StartRingAsync();
        session.AwaitUsed(1);
    }

    private FileStorage Open(FileCache cache)
    {
        FileStorage storage = FileStorage.Open(_image.Path, new FileStorageOptions { Cache = cache });
        if (!storage.IsAsynchronous)
            storage.Dispose();
        Skip.IfNot(storage.IsAsynchronous, "io_uring cannot be used here.");
        PageCache.Drop(_image.Path);
        return storage;
    }
}
