using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Rings;

/// <summary>Memory that changes under started rings.</summary>
[Collection(ProcessCounts.Name)]
public class RingMemoryTests
{
    [Theory]
    [MemberData(nameof(RingDialogue.Dispatches), MemberType = typeof(RingDialogue))]
    public Task Rings_run_on_while_the_table_is_replaced(QueueDispatch dispatch) => RingDialogue.RunAsync(dispatch, async (frontend, guest, ring) =>
    {
        using TestGuest other = new(slot: 1);
        await frontend.SetMemoryTableAsync(guest);
        await frontend.StartAsync(ring);
        for (byte i = 0; i < 20; i++)
        {
            ring.SubmitAndKick(i);
            await frontend.SetMemoryTableAsync(i % 2 == 0 ? [guest, other] : [guest]);
            await ring.ExpectEchoAsync(i);
        }
    });

    [Theory]
    [MemberData(nameof(RingDialogue.Dispatches), MemberType = typeof(RingDialogue))]
    public Task A_table_without_the_ring_stops_it_until_it_is_back(QueueDispatch dispatch) => RingDialogue.RunAsync(
        dispatch,
        async (frontend, guest, ring) =>
        {
            using TestGuest other = new(slot: 1);
            await frontend.SetMemoryTableAsync(guest);
            await frontend.StartAsync(ring);
            await ring.EchoAsync(1);
            await frontend.SetMemoryTableAsync(other);
            ring.SubmitAndKick(2);
            await frontend.BarrierAsync();
            ring.UsedIndex.Should().Be(1);
            await frontend.SetMemoryTableAsync(other, guest);
            await ring.ExpectEchoAsync(2);
        },
        lines: 1);

    [Theory]
    [MemberData(nameof(RingDialogue.Dispatches), MemberType = typeof(RingDialogue))]
    public async Task R19_Memory_is_removed_only_after_requests_in_it_are_done(QueueDispatch dispatch)
    {
        await using HostileBench bench = await HostileBench.StartAsync(options: new VhostUserBackendOptions { Dispatch = dispatch });
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using TestGuest guest = new();
            using TestGuest other = new(slot: 1);
            using TestRing ring = new(guest, 0);
            bench.Device.KeepRequests = true;
            await frontend.AddMemoryAsync(guest);
            await frontend.AddMemoryAsync(other);
            await frontend.StartAsync(ring);
            ring.SubmitAndKick(1);
            await Eventually.TrueAsync(() => bench.Device.Kept.Count == 1);
            await RemovedOnlyAfterAsync(bench, frontend, other);
            bench.Device.KeepRequests = false;
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    /// <summary>Adding a region replaces the table without waiting for anybody, so a request may be older than the table that a removal replaces.</summary>
    [Theory]
    [MemberData(nameof(RingDialogue.Dispatches), MemberType = typeof(RingDialogue))]
    public async Task R19_Memory_is_removed_only_after_requests_are_done_that_were_taken_before_other_memory_came(QueueDispatch dispatch)
    {
        await using HostileBench bench = await HostileBench.StartAsync(options: new VhostUserBackendOptions { Dispatch = dispatch });
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using TestGuest guest = new();
            using TestGuest other = new(slot: 1);
            using TestGuest third = new(slot: 2);
            using TestRing ring = new(guest, 0);
            bench.Device.KeepRequests = true;
            await frontend.AddMemoryAsync(guest);
            await frontend.AddMemoryAsync(other);
            await frontend.StartAsync(ring);
            ring.SubmitAndKick(1);
            await Eventually.TrueAsync(() => bench.Device.Kept.Count == 1);
            await frontend.AddMemoryAsync(third);
            await frontend.RemoveMemoryAsync(third); // which no request can use
            await RemovedOnlyAfterAsync(bench, frontend, other);
            bench.Device.KeepRequests = false;
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    /// <summary>The back-end has taken the region away and still does not say so, until the request that is kept is done.</summary>
    private static async Task RemovedOnlyAfterAsync(HostileBench bench, RawFrontend frontend, TestGuest other)
    {
        bool done = false;
        Task<bool> removing = frontend.RemoveMemoryAsync(other).ContinueWith(_ => Volatile.Read(ref done), TaskScheduler.Default);
        await Eventually.TrueAsync(() => bench.Backend.GetStatus()!.Memory.Count == 1);
        bench.Device.Kept.TryDequeue(out DetachedChain? kept).Should().BeTrue();
        removing.IsCompleted.Should().BeFalse("a request still holds a table with that region");
        Volatile.Write(ref done, true);
        kept!.Complete(0);

        (await removing.InTime()).Should().BeTrue("the answer comes after the request");
    }
}
