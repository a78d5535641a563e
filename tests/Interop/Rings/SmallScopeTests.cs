using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Interop.Tests;

/// <summary>
/// Every order of calls of both halves on very small rings, from every place in the ring and on either turn around it: nothing is lost, repeated or invented, and
/// nobody who was told to sleep sleeps through a publication. Longer orders: VHOST_SCOPE_EXTRA=2.
/// </summary>
public sealed class SmallScopeTests
{
    /// <summary>Calls more than in everyday runs: each makes the exploration about three times as large.</summary>
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

    [Theory]
    [MemberData(nameof(Scopes))]
    public void Every_order_of_calls_keeps_every_buffer_and_wakes_every_sleeper(int size, VirtioFeatures features, int indirect, int length)
    {
        length += ExtraLength;
        using ModelledRing ring = new(size, features, indirect);
        for (int turn = 0; turn < 2 * size; turn++)
        {
            Explore(ring, turn, length);
        }
    }

    private static void Explore(ModelledRing ring, int turn, int length)
    {
        HashSet<string> seen = new(StringComparer.Ordinal);
        List<Step[]> frontier = new() { Array.Empty<Step>() };
        for (int depth = 0; depth < length && frontier.Count > 0; depth++)
        {
            List<Step[]> next = new();
            foreach (Step[] path in frontier)
            {
                foreach (Step step in Enum.GetValues<Step>())
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
}
