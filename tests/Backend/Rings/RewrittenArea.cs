using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>
/// A ring of which a thread rewrites the in-flight area without pause: what it says of requests, their order and the free entries, and of a packed ring whole descriptors. Much of it is true of some ring; now and then it
/// is a number that there is not, and addresses and lengths of different values lead out of the memory.
/// </summary>
internal sealed class RewrittenArea : IDisposable
{
    internal const int Size = 16;

    private const uint NearLength = 64;
    private const uint FarLength = 2048;
    private const ulong Far = 0x1_0000;
    private const ulong DataEnd = 0x2_0000;

    private readonly GuardedRam _ram = new((0UL, DataEnd));
    private readonly GuardedRam _areaRam = new((0UL, 0x1000UL));
    private readonly VirtioFeatures _features;
    private readonly RawSplitRing _split;
    private readonly RawPackedRing _packed;
    private readonly GuestMemoryLease _area;
    private readonly Rewriter _rewriter;
    private readonly VhostUserInflight _said;
    private readonly byte[] _buffer = new byte[2 * FarLength];
    private int _turn;

    /// <summary>Starts to rewrite.</summary>
    /// <param name="features">RING_PACKED and IN_ORDER matter.</param>
    internal RewrittenArea(VirtioFeatures features)
    {
        _features = features | VirtioFeatures.Version1;
        _split = new RawSplitRing(_ram.Memory, 0, Size);
        _packed = new RawPackedRing(_ram.Memory, 0, Size);
        _area = _areaRam.Memory.Acquire();
        _said = new VhostUserInflight(InflightLayout.PartSize(Size, IsPacked), 0, 1, Size);
        if (!IsPacked)
            DescribeSplit();
        _rewriter = new Rewriter(IsPacked ? RewritePacked : RewriteSplit);
    }

    private bool IsPacked => (_features & VirtioFeatures.RingPacked) != 0;

    /// <summary>Another back-end begins with what the area says, and serves what it finds and what is new.</summary>
    /// <returns>How many requests it found.</returns>
    internal int Serve()
    {
        Offer();
        DeviceVirtqueue device = Start();
        try
        {
            int left = device.LeftByLast;
            if (left > Size || device.LeftBad > Size + 1)
                Assert.Fail($"{left} requests and {device.LeftBad} bad entries were found");
            Take(device, left);
            device.Flush();
            if (device.Fault == VirtqueueFault.None && device.InFlight != 0)
                Assert.Fail($"{device.InFlight} requests of a queue that has served them all are in flight");
            return left;
        }
        finally
        {
            device.Deactivate();
        }
    }

    public void Dispose()
    {
        _rewriter.Dispose();
        _area.Dispose();
        _split.Dispose();
        _packed.Dispose();
        _areaRam.Dispose();
        _ram.Dispose();
    }

    /// <summary>What was left is handed out once, and all of it is memory of the guest. Every other device keeps everything until it has all.</summary>
    private void Take(DeviceVirtqueue device, int left)
    {
        bool keeps = (_turn & 2) != 0;
        List<ushort> kept = [];
        HashSet<ushort> heads = [];
        for (int taken = 0; device.TryPop(out DescriptorChain chain); taken++)
        {
            if (chain.Head >= Size || taken >= 2 * Size)
                Assert.Fail($"chain {chain.Head} as number {taken}");
            if (!heads.Add(chain.Head) && taken < left - device.LeftRefused)
                Assert.Fail($"chain {chain.Head} twice among the {left} that were left");
            chain.Readable.CopyTo(_buffer);
            if (chain.Writable.Length > 0)
                chain.Writable.Slice(chain.Writable.Length - 1).Fill(1);
            if (keeps)
                kept.Add(chain.Head);
            else
                device.Complete(chain, 0);
        }

        kept.ForEach(head => device.Complete(head, 0));
    }

    private DeviceVirtqueue Start()
    {
        VirtqueueSetup setup = new(
            0,
            Size,
            new UserAddress(GuestRam.UserOffset),
            User(IsPacked ? _packed.DriverArea : _split.AvailableRing),
            User(IsPacked ? _packed.DeviceArea : _split.UsedRing),
            IsPacked ? VirtqueueSetup.FreshPackedBase : _split.UsedIndex,
            _features);
        using InflightArea area = new(_areaRam.Memory.Regions[0].Memory, _said);
        return DeviceVirtqueue.TryActivate(_ram.Memory, setup, null, area.Open(setup), out _, out string why) ?? throw new InvalidOperationException(why);
    }

    /// <summary>A driver that waits for half a ring; of a packed one, for all of it, on either turn.</summary>
    private void Offer()
    {
        _turn++;
        if (!IsPacked)
        {
            _split.AvailableIndex = (ushort)(_split.UsedIndex + (Size / 2));
            return;
        }

        for (int i = 0; i < Size; i++)
            _packed.Offer(i, DataEnd - NearLength, NearLength, (ushort)i, wrap: _turn % 2 == 0);
    }

    private void DescribeSplit()
    {
        for (ushort i = 0; i < Size; i++)
        {
            _split.Descriptor(i, DataEnd - NearLength, NearLength, i % 2 == 0 ? (ushort)0 : RawSplitRing.Write);
            _split.AvailableEntry(i, i);
        }
    }

    private void RewriteSplit(ulong random)
    {
        ulong entry = InflightLayout.SplitAt((uint)(random % Size));
        switch ((random >> 8) % 6)
        {
            case 0:
                Put(InflightLayout.SplitLastBatchAt, Number(random));
                break;
            case 1:
                Put(InflightLayout.SplitUsedAt, (ushort)(_split.UsedIndex - ((random >> 40) % 4)));
                break;
            case 2:
                Put(entry + InflightLayout.SplitNextAt, Number(random));
                break;
            default:
                RewriteEither(entry, random);
                break;
        }
    }

    private void RewritePacked(ulong random)
    {
        ulong entry = InflightLayout.PackedAt((uint)(random % Size));
        switch ((random >> 8) % 12)
        {
            case 0:
                Put((random & (1 << 12)) == 0 ? InflightLayout.PackedFreeAt : InflightLayout.PackedOldFreeAt, Number(random));
                break;
            case 1:
                Put((random & (1 << 12)) == 0 ? InflightLayout.PackedUsedAt : InflightLayout.PackedOldUsedAt, Number(random));
                break;
            case 2:
                Put((random & (1 << 12)) == 0 ? InflightLayout.PackedUsedWrapAt : InflightLayout.PackedOldUsedWrapAt, (byte)((random >> 13) & 1));
                break;
            case 3:
                Put(entry + InflightLayout.PackedNextAt, Number(random));
                break;
            case 4:
                Put(entry + InflightLayout.PackedCountAt, (random >> 52) % 32 == 1 ? Number(random) : (ushort)(1 + ((random >> 40) % 3)));
                break;
            case 5:
                Put(entry + InflightLayout.PackedIdAt, Number(random));
                break;
            case 6:
                Put(entry + InflightLayout.PackedFlagsAt, (ushort)((random >> 40) % 8));
                break;
            case 7:
                Put(entry + InflightLayout.PackedLengthAt, (random & (1 << 12)) == 0 ? NearLength : FarLength);
                break;
            case 8:
                Put(entry + InflightLayout.PackedAddressAt, (random >> 52) % 64 == 1 ? random : (random & (1 << 12)) == 0 ? DataEnd - NearLength : Far);
                break;
            default:
                RewriteEither(entry, random);
                break;
        }
    }

    /// <summary>What the two formats have in the same places.</summary>
    private void RewriteEither(ulong entry, ulong random)
    {
        switch ((random >> 16) % 8)
        {
            case 0:
                Put(entry + InflightLayout.CounterAt, (random >> 56) == 1 ? ulong.MaxValue - (random >> 60) : random >> 40);
                break;
            case 1:
                Put(InflightLayout.VersionAt, (random >> 52) % 64 == 1 ? (ushort)(random >> 40) : InflightLayout.Version);
                break;
            case 2:
                Put(InflightLayout.EntriesAt, (random >> 52) % 64 == 1 ? (ushort)(random >> 40) : (ushort)Size);
                break;
            default:
                Put(entry + InflightLayout.MarkAt, (byte)((random >> 20) & 1));
                break;
        }
    }

    /// <summary>A number of an entry, or the one behind the last, which ends lists; now and then one that is too large.</summary>
    private static ushort Number(ulong random) => (random >> 52) % 64 == 1 ? (ushort)(random >> 40) : (ushort)((random >> 24) % (Size + 1));

    private void Put<T>(ulong offset, T value)
        where T : unmanaged
    {
        if (!_area.TryWrite(new GuestAddress(offset), value))
            throw new InvalidOperationException($"0x{offset:x} is not in the area");
    }

    private static UserAddress User(GuestAddress address) => new(address.Value + GuestRam.UserOffset);
}
