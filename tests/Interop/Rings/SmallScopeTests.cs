using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Interop.Tests;

/// <summary>
/// Every order of calls of both halves on very small rings, from every place in the ring and on either turn around it: nothing is lost, repeated or invented, and
/// nobody who was told to sleep sleeps through a publication. Longer orders: VHOST_SCOPE_EXTRA=2.
/// </summary>
public sealed class SmallScopeTests
{
    private static readonly Step[] _chainSteps =
        [Step.SubmitReadable, Step.SubmitBoth, Step.Publish, Step.Take, Step.CompleteOldest, Step.CompleteNewest, Step.Flush, Step.Drain, Step.ArmKick, Step.ArmCall];

    private static readonly Step[] _packetSteps =
    [
        Step.SubmitSingles, Step.SubmitSinglesToWrite, Step.SubmitBoth, Step.Publish, Step.Take, Step.CompleteOldest, Step.CompleteNewest, Step.Linear, Step.LinearButLast, Step.LinearToWrite,
        Step.TakeAndGiveBack, Step.Flush, Step.Drain, Step.ArmKick, Step.ArmCall,
    ];

    /// <summary>Calls more than in everyday runs, or fewer: each makes the exploration about three times as large.</summary>
    private static int ExtraLength => int.Parse(Environment.GetEnvironmentVariable("VHOST_SCOPE_EXTRA") ?? "0", CultureInfo.InvariantCulture);

    /// <summary>Size of the ring, features, buffers of an indirect table, calls.</summary>
    public static TheoryData<int, VirtioFeatures, int, int> Scopes
    {
        get
        {
            TheoryData<int, VirtioFeatures, int, int> scopes = new();
            foreach (VirtioFeatures features in new[] { VirtioFeatures.None, VirtioFeatures.EventIndex, VirtioFeatures.InOrder, VirtioFeatures.EventIndex | VirtioFeatures.InOrder })
            {
                foreach (int indirect in new[] { 0, 2 })
                {
                    VirtioFeatures all = features | (indirect > 0 ? VirtioFeatures.IndirectDescriptors : 0);
                    scopes.Add(2, all, indirect, 8);
                    scopes.Add(4, all, indirect, 6);
                    scopes.Add(2, all | VirtioFeatures.RingPacked, indirect, 8);
                    scopes.Add(3, all | VirtioFeatures.RingPacked, indirect, 7);
                    scopes.Add(4, all | VirtioFeatures.RingPacked, indirect, 6);
                    if (indirect == 0)
                        scopes.Add(1, all | VirtioFeatures.RingPacked, indirect, 12);
                }
            }

            return scopes;
        }
    }

    /// <summary>The same for the calls of a network device, between some of the others: there are more of them, so the orders are shorter.</summary>
    public static TheoryData<int, VirtioFeatures, int> PacketScopes
    {
        get
        {
            TheoryData<int, VirtioFeatures, int> scopes = new();
            foreach (VirtioFeatures features in new[] { VirtioFeatures.None, VirtioFeatures.EventIndex, VirtioFeatures.InOrder, VirtioFeatures.EventIndex | VirtioFeatures.InOrder })
            {
                scopes.Add(2, features, 7);
                scopes.Add(4, features, 5);
                scopes.Add(2, features | VirtioFeatures.RingPacked, 7);
                scopes.Add(3, features | VirtioFeatures.RingPacked, 6);
            }

            return scopes;
        }
    }

    [Theory]
    [MemberData(nameof(PacketScopes))]
    public void Every_order_of_calls_for_packets_keeps_every_buffer_too(int size, VirtioFeatures features, int length)
    {
        ExploreFromEveryPlace(size, features, indirect: 0, length + ExtraLength, _packetSteps);
    }

    [Theory]
    [MemberData(nameof(Scopes))]
    public void Every_order_of_calls_keeps_every_buffer_and_wakes_every_sleeper(int size, VirtioFeatures features, int indirect, int length)
    {
        ExploreFromEveryPlace(size, features, indirect, length + ExtraLength, _chainSteps);
    }

    private static void ExploreFromEveryPlace(int size, VirtioFeatures features, int indirect, int length, Step[] steps) =>
        Parallel.For(0, 2 * size, turn =>
        {
            using ModelledRing ring = new(size, features, indirect);
            Explore(ring, turn, length, steps);
        });

    private static void Explore(ModelledRing ring, int turn, int length, Step[] steps)
    {
        HashSet<string> seen = new(StringComparer.Ordinal);
        List<Step[]> frontier = new() { Array.Empty<Step>() };
        for (int depth = 0; depth < length && frontier.Count > 0; depth++)
        {
            List<Step[]> next = new();
            foreach (Step[] path in frontier)
            {
                foreach (Step step in steps)
                {
                    Replay(ring, turn, path);
                    if (ring.TryDo(step) && seen.Add(ring.State()))
                    {
                        next.Add([.. path, step]);
                    }
                }
            }

            frontier = next;
        }

        foreach (Step[] path in frontier)
        {
            Replay(ring, turn, path);
            ring.Finish();
        }

        seen.Count.Should().BeGreaterThan(30, "the exploration reaches many states");
    }

    private static void Replay(ModelledRing ring, int turn, Step[] path)
    {
        ring.StartOver();
        for (int i = 0; i < turn; i++)
        {
            ring.TryDo(Step.SubmitReadable).Should().BeTrue();
            ring.Finish();
        }

        foreach (Step step in path)
        {
            ring.TryDo(step).Should().BeTrue();
        }
    }
}

/// <summary>One call of one half.</summary>
internal enum Step
{
    SubmitReadable,
    SubmitBoth,
    Publish,
    Take,
    CompleteOldest,
    CompleteNewest,
    Flush,
    Drain,
    ArmKick,
    ArmCall,

    /// <summary>A burst of two packets for the device.</summary>
    SubmitSingles,

    /// <summary>Two buffers for packets of the device.</summary>
    SubmitSinglesToWrite,

    /// <summary>Packets of one buffer are taken in one pass and completed with nothing written.</summary>
    Linear,

    /// <summary>The same, but the last of them is given back.</summary>
    LinearButLast,

    /// <summary>Buffers are taken in one pass, and completed with what was written to each.</summary>
    LinearToWrite,

    /// <summary>A burst of chains of any shape is taken and given back as a whole.</summary>
    TakeAndGiveBack,
}
