using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Migration;

/// <summary>
/// One ring of both halves, and a device that says in many ways what it has written. All of memory is compared before and after each of its turns: what changed is in the log, and the log has no page that the
/// device did not write.
/// </summary>
public sealed class DirtyRingTests
{
    private const int Entries = 256;
    private const int Turns = 150;
    private const ulong RingAt = 0x10_0000;
    private const ulong Buffers = 0x20_0000;
    private const ulong MemorySize = 0x40_0000;
    private const ulong Page = DirtyLog.PageSize;

    public static TheoryData<VirtioFeatures, int> Rings
    {
        get
        {
            TheoryData<VirtioFeatures, int> rings = new();
            foreach (VirtioFeatures features in (VirtioFeatures[])[VirtioFeatures.None, VirtioFeatures.EventIndex, VirtioFeatures.InOrder, VirtioFeatures.RingPacked, VirtioFeatures.RingPacked | VirtioFeatures.EventIndex | VirtioFeatures.InOrder])
            {
                for (int seed = 0; seed < 4; seed++)
                    rings.Add(features, seed);
            }

            return rings;
        }
    }

    [Theory]
    [MemberData(nameof(Rings))]
    public void What_the_device_writes_is_in_the_log_and_nothing_else(VirtioFeatures features, int seed)
    {
        using Bench bench = new(features, seed);
        bench.Device.SetLog(bench.LogSetup(wholeChains: false));
        for (int turn = 0; turn < Turns; turn++)
        {
            bench.Offer();
            byte[] before = bench.Copy();
            HashSet<ulong> written = bench.Serve();

            HashSet<ulong> logged = bench.TakeLog();

            bench.Changed(before).Should().BeSubsetOf(logged, "turn {0}", turn);
            logged.Should().BeSubsetOf([.. written, .. bench.RingPages], "turn {0}", turn);
            bench.Collect();
        }

        bench.Log.Outside.Should().Be(0);
    }

    [Theory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(VirtioFeatures.RingPacked)]
    public void A_device_that_does_not_report_all_has_all_of_its_chains_logged(VirtioFeatures features)
    {
        using Bench bench = new(features, seed: 1);
        bench.Device.SetLog(bench.LogSetup(wholeChains: true));
        for (int turn = 0; turn < Turns; turn++)
        {
            bench.Offer();
            byte[] before = bench.Copy();
            bench.Serve(beyondWhatIsSaid: true);

            bench.Changed(before).Should().BeSubsetOf(bench.TakeLog(), "turn {0}", turn);
            bench.Collect();
        }
    }

    [Theory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(VirtioFeatures.RingPacked)]
    public void Chains_that_are_completed_behind_the_batch_they_came_in_are_logged_before(VirtioFeatures features)
    {
        using Bench bench = new(features, seed: 1);
        bench.Device.SetLog(bench.LogSetup(wholeChains: false));
        GuestBuffer[] buffers = [.. Enumerable.Range(0, 100).Select(i => new GuestBuffer(new GuestAddress(Buffers + ((ulong)i * Page)), 64))];
        bench.Driver.SubmitBurst(buffers, deviceWrites: true, [.. Enumerable.Range(0, 100).Select(i => (ulong)i)]).Should().Be(100);
        bench.Driver.Publish();
        List<ushort> heads = [];
        while (bench.Device.TryPop(out DescriptorChain chain))
        {
            chain.Writable.CopyFrom([1, 2, 3]);
            heads.Add(chain.Head);
        }

        foreach (ushort head in heads)
            bench.Device.Complete(head, 3);
        bench.Device.Flush();

        bench.TakeLog().Should().Contain(buffers.Select(buffer => buffer.Address.Value / Page));
    }

    [Fact]
    public void Without_the_flag_of_the_ring_only_buffers_are_logged()
    {
        using Bench bench = new(VirtioFeatures.None, seed: 3);
        bench.Device.SetLog(bench.LogSetup(wholeChains: false) with { UsedRing = null });
        for (int turn = 0; turn < 20; turn++)
        {
            bench.Offer();
            HashSet<ulong> written = bench.Serve();
            bench.TakeLog().Should().BeSubsetOf(written);
            bench.Collect();
        }
    }

    [Fact]
    public void Nothing_is_logged_any_more_when_the_log_is_taken_away()
    {
        using Bench bench = new(VirtioFeatures.None, seed: 3);
        bench.Device.SetLog(bench.LogSetup(wholeChains: false));
        bench.Device.MarkDirty(new GuestAddress(Buffers + 5), 1);
        bench.TakeLog().Should().Equal(Buffers / Page);
        bench.Device.SetLog(null);

        bench.Offer();
        bench.Serve();
        bench.Device.MarkDirty(new GuestAddress(Buffers), 1);

        bench.TakeLog().Should().BeEmpty();
    }

    /// <summary>A migration is given up in the middle of a batch, and begun again.</summary>
    [Theory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(VirtioFeatures.RingPacked)]
    public void A_log_that_begins_again_knows_nothing_of_the_one_before(VirtioFeatures features)
    {
        using Bench bench = new(features, seed: 3);
        bench.Device.SetLog(bench.LogSetup(wholeChains: false));
        for (int turn = 0; turn < 20; turn++)
        {
            bench.Offer();
            bench.Complete(bench.Device.TakeBurst());
            bench.Device.SetLog(null);
            bench.Collect();
            bench.Offer();
            ChainBurst burst = bench.Device.TakeBurst();

            bench.Device.SetLog(bench.LogSetup(wholeChains: false));
            bench.TakeLog();
            byte[] before = bench.Copy();
            bench.Complete(burst);

            bench.Changed(before).Should().BeSubsetOf(bench.TakeLog(), "turn {0}", turn);
            bench.Collect();
        }
    }

    [Theory]
    [InlineData(ulong.MaxValue)]
    [InlineData(MemorySize * 64)]
    [InlineData(ulong.MaxValue - 3)]
    public void B27_a_used_ring_that_is_said_to_be_outside_the_log_is_counted(ulong usedRing)
    {
        using Bench bench = new(VirtioFeatures.None, seed: 3);
        bench.Device.SetLog(bench.LogSetup(wholeChains: false) with { UsedRing = usedRing });
        bench.Offer();

        HashSet<ulong> written = bench.Serve();

        bench.TakeLog().Should().BeSubsetOf(written);
        bench.Log.Outside.Should().BePositive();
    }

    [Fact]
    public void Whoever_wants_to_know_is_told_of_changes_once_a_batch()
    {
        using EventNotifier changed = new();
        using Bench bench = new(VirtioFeatures.None, seed: 3);
        bench.Device.SetLog(bench.LogSetup(wholeChains: false) with { Changed = changed });
        changed.TryConsume().Should().BeFalse();
        bench.Offer();

        bench.Serve();

        changed.TryConsume().Should().BeTrue();
    }

    /// <summary>Ring, memory and log; the device writes random bytes of random length.</summary>
    private sealed class Bench : IDisposable
    {
        private readonly Random _random;
        private readonly GuestMemory _memory = GuestRam.Create((0UL, Buffers + 0x8_0000), (Buffers + 0x8_0000, MemorySize - Buffers - 0x8_0000));
        private readonly GuestMemoryLease _lease;
        private readonly EventNotifier _call = new();
        private readonly VringSettings _ring;
        private readonly bool _packed;
        private readonly List<DetachedChain> _detached = [];

        internal Bench(VirtioFeatures features, int seed)
        {
            _random = new Random(seed);
            _lease = _memory.Acquire();
            _packed = features.HasFlag(VirtioFeatures.RingPacked);
            Driver = DriverVirtqueue.Create(_memory, new GuestAddress(RingAt), new DriverVirtqueueOptions { Size = Entries }, features | VirtioFeatures.Version1);
            _ring = Driver.Describe(0, _call, _call);
            Device = ModelledRing.Activate(_memory, Driver, features | VirtioFeatures.Version1, _call);
            Log = DirtyLog.Create(new GuestAddress(MemorySize - 1));
        }

        internal DriverVirtqueue Driver { get; }

        internal DeviceVirtqueue Device { get; }

        internal DirtyLog Log { get; }

        /// <summary>Pages in which the device may write to the ring itself.</summary>
        internal IEnumerable<ulong> RingPages => _packed
            ? [.. Pages(_ring.DescriptorTable.Value, Entries * 16), .. Pages(_ring.UsedRing.Value, 4)]
            : Pages(_ring.UsedRing.Value, 6 + (Entries * 8));

        public void Dispose()
        {
            _detached.ForEach(chain => chain.Complete(0));
            Device.Deactivate();
            Driver.Dispose();
            _lease.Dispose();
            _memory.Dispose();
            _memory.Released.IsCompleted.Should().BeTrue();
            Log.Dispose();
            _call.Dispose();
        }

        internal QueueLogSetup LogSetup(bool wholeChains) => new(Log, _ring.UsedRing.Value, null, wholeChains);

        internal byte[] Copy()
        {
            byte[] copy = new byte[MemorySize];
            _lease.TryCopyTo(default, copy).Should().BeTrue();
            return copy;
        }

        internal HashSet<ulong> Changed(byte[] before)
        {
            byte[] now = Copy();
            return [.. Enumerable.Range(0, (int)(MemorySize / Page)).Where(page => !now.AsSpan(page * (int)Page, (int)Page).SequenceEqual(before.AsSpan(page * (int)Page, (int)Page))).Select(page => (ulong)page)];
        }

        internal HashSet<ulong> TakeLog()
        {
            ulong[] pages = new ulong[MemorySize / Page / 64];
            Log.Take(default, MemorySize, pages);
            return [.. Enumerable.Range(0, pages.Length * 64).Where(page => (pages[page / 64] >> (page % 64) & 1) != 0).Select(page => (ulong)page)];
        }

        /// <summary>Chains of one to four buffers, anywhere behind the ring, over the border of the two regions too.</summary>
        internal void Offer()
        {
            for (int i = _random.Next(1, 20); i > 0; i--)
            {
                GuestBuffer[] writable = [.. Enumerable.Range(0, _random.Next(1, 4)).Select(_ => Buffer())];
                Driver.TrySubmit(_random.Next(2) == 0 ? [] : [Buffer()], writable, 0);
            }

            Driver.Publish();
        }

        /// <summary>One turn of the device.</summary>
        /// <returns>The pages that it wrote.</returns>
        internal HashSet<ulong> Serve(bool beyondWhatIsSaid = false)
        {
            HashSet<ulong> written = [];
            foreach (DetachedChain chain in _detached.ToArray())
            {
                if (_random.Next(2) == 0)
                    continue;
                _detached.Remove(chain);
                chain.Complete(Write(chain.Writable, written, beyondWhatIsSaid));
            }

            while (Device.TryPop(out DescriptorChain chain))
            {
                if (_random.Next(3) == 0)
                    _detached.Add(chain.Detach());
                else
                    Device.Complete(chain, Write(chain.Writable, written, beyondWhatIsSaid));
            }

            Device.Flush();
            Device.ArmKick();
            return written;
        }

        internal void Complete(ChainBurst burst)
        {
            for (int i = 0; i < burst.Count; i++)
                Device.Complete(burst[i], Write(burst.Writable(i), [], beyondWhatIsSaid: false));
            Device.Flush();
        }

        internal void Collect()
        {
            DriverCompletion[] done = new DriverCompletion[Entries];
            Driver.Drain(done);
        }

        private uint Write(GuestBuffers writable, HashSet<ulong> written, bool beyondWhatIsSaid)
        {
            byte[] bytes = new byte[_random.Next((int)writable.Length + 1)];
            _random.NextBytes(bytes);
            writable.CopyFrom(bytes);
            uint left = (uint)bytes.Length;
            for (GuestBuffers.Cursor cursor = writable.GetCursor(); left > 0 && cursor.MoveNext();)
            {
                uint here = Math.Min(cursor.Count, left);
                _memory.TryGetGuestAddress(cursor.Address, here, out GuestAddress at).Should().BeTrue();
                written.UnionWith(Pages(at.Value, here));
                left -= here;
            }

            if (beyondWhatIsSaid)
                writable.Slice(writable.Length - 1, 1).TryWrite((byte)_random.Next());
            return (uint)bytes.Length;
        }

        private GuestBuffer Buffer()
        {
            uint length = (uint)(_random.Next(4) == 0 ? _random.Next(1, 20_000) : _random.Next(1, 200));
            ulong at = Buffers + (ulong)_random.Next((int)(MemorySize - Buffers) - (int)length);
            return new GuestBuffer(new GuestAddress(at), length);
        }

        private static IEnumerable<ulong> Pages(ulong at, ulong length)
        {
            for (ulong page = at / Page; length > 0 && page <= (at + length - 1) / Page; page++)
                yield return page;
        }
    }
}
