using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>How the requests of a <see cref="RewrittenRing"/> lie in the ring.</summary>
public enum RewrittenShape
{
    /// <summary>One descriptor each.</summary>
    Single,

    /// <summary>Two descriptors each.</summary>
    Chain,

    /// <summary>An indirect table of two or four entries each.</summary>
    Indirect,
}

/// <summary>
/// A ring of which a thread rewrites descriptors, tables and, if split, the available ring, without pause, each descriptor between two values: "near", a short buffer
/// that ends where a region ends, and "far", a long one at a place far from it. Address and length of different values give a buffer that leaves the region, or one inside it
/// that is as good as either; length, flags and id stand in one word and can never be mixed, so each length tells its flags and its place.
/// Now and then there is garbage instead.
/// </summary>
internal sealed class RewrittenRing : IDisposable
{
    internal const int Size = 64;
    internal const uint NearLength = 64;
    internal const uint FarLength = 2048;

    /// <summary>The pattern at the far place, behind the bytes of a header.</summary>
    internal const byte FarByte = 0xBB;

    private const ulong RingEnd = 0x8000;
    private const ulong Tables = 0x1_0000;
    private const ulong Far = 0x2_0000;
    private const ulong FarSize = 0x1000;
    private const ulong DataEnd = 0x4_0000;
    private const ulong NearSize = 0x100;
    private const ulong SecondStart = 0x10_0000;
    private const ulong SecondEnd = 0x11_0000;
    private const int Half = Size / 2;

    private readonly GuardedRam _ram = new((0UL, DataEnd), (SecondStart, SecondEnd - SecondStart));
    private readonly RawSplitRing _split;
    private readonly Rewriter _rewriter;
    private readonly VirtioFeatures _features;
    private readonly RewrittenShape _shape;
    private readonly ushort _nearFlags;
    private readonly ushort _farFlags;
    private readonly byte[] _untouched;

    /// <summary>Packed rings only: where the device is, and on which turn.</summary>
    private int _position = 0x8000;

    /// <summary>Starts to rewrite.</summary>
    /// <param name="shape">How requests lie in it.</param>
    /// <param name="features">RING_PACKED, IN_ORDER and EVENT_IDX matter.</param>
    /// <param name="nearWritable">Near buffers are the device's to write.</param>
    /// <param name="farWritable">Far buffers are the device's to write.</param>
    internal RewrittenRing(RewrittenShape shape, VirtioFeatures features, bool nearWritable, bool farWritable)
    {
        _shape = shape;
        _features = features | VirtioFeatures.IndirectDescriptors | VirtioFeatures.Version1;
        _nearFlags = nearWritable ? RawSplitRing.Write : (ushort)0;
        _farFlags = farWritable ? RawSplitRing.Write : (ushort)0;
        _split = new RawSplitRing(_ram.Memory, 0, Size);
        for (ulong i = 12; i < FarSize; i++)
            _split.Put(Far + i, FarByte);
        for (ulong i = 0; i < 16; i++)
            RewriteTables(i << 10, linked: !IsPacked);
        Fill();
        _untouched = Untouched();
        _rewriter = new Rewriter(IsPacked ? RewritePacked : RewriteSplit);
    }

    private bool IsPacked => (_features & VirtioFeatures.RingPacked) != 0;

    /// <summary>A fresh device half, after a fault or at first.</summary>
    internal DeviceVirtqueue Start(int index = 0)
    {
        VirtqueueSetup setup = new(
            index,
            Size,
            new UserAddress(GuestRam.UserOffset),
            new UserAddress(GuestRam.UserOffset + (IsPacked ? 16UL * Size : _split.AvailableRing.Value)),
            new UserAddress(GuestRam.UserOffset + (IsPacked ? (16UL * Size) + 4 : _split.UsedRing.Value)),
            IsPacked ? 0x8000_8000 : _split.AvailableIndex,
            _features);
        return DeviceVirtqueue.TryActivate(_ram.Memory, setup, null, out _, out string why) ?? throw new InvalidOperationException(why);
    }

    /// <summary>Makes available all that the device does not have.</summary>
    internal void Offer(DeviceVirtqueue device)
    {
        uint at = device.Base;
        Volatile.Write(ref _position, (int)(ushort)at);
        if (!IsPacked)
            _split.AvailableIndex = (ushort)(at + Size - (uint)device.InFlight);
        else
            Fill();
    }

    /// <summary>Whether the lengths of a chain are those of values that were written, each whole.</summary>
    internal bool IsOneOfTheValues(ushort head, uint readable, uint writable)
    {
        return _shape switch
        {
            RewrittenShape.Single => Matches([head], readable, writable),
            RewrittenShape.Chain when !IsPacked && head >= Half => Matches([head], readable, writable),
            RewrittenShape.Chain => IsPacked ? Matches([head - 1, head], readable, writable) : Matches([head, head + Half], readable, writable),
            _ => Matches([0, 1], readable, writable) || Matches([0, 1, 2, 3], readable, writable),
        };
    }

    /// <summary>Stops, and looks whether anything was written that was not the device's to write.</summary>
    public void Dispose()
    {
        _rewriter.Dispose();
        bool intact = Untouched().AsSpan().SequenceEqual(_untouched);
        _split.Dispose();
        _ram.Dispose();
        intact.Should().BeTrue("nothing but the ring and the buffers is written");
    }

    /// <summary>The sum of near or far lengths of some places, with readable ones in front.</summary>
    private bool Matches(ReadOnlySpan<int> places, uint readable, uint writable)
    {
        for (int values = 0; values < 1 << places.Length; values++)
        {
            uint reads = 0, writes = 0;
            for (int i = 0; i < places.Length; i++)
            {
                bool far = (values & (1 << i)) != 0;
                uint length = (far ? FarLength : NearLength) + (uint)places[i];
                bool write = (far ? _farFlags : _nearFlags) != 0;
                reads += write ? 0 : length;
                writes += write ? length : 0;
            }

            if (reads == readable && writes == writable)
                return true;
        }

        return false;
    }

    /// <summary>Writes every descriptor once, so that a device need not wait for the thread that rewrites them.</summary>
    private void Fill()
    {
        for (ulong place = 0; place < Size; place++)
        {
            ulong random = place | ((place & 2) << 7);
            if (IsPacked)
                RewritePacked(random);
            else
                RewriteSplit(random);
        }
    }

    private void RewriteSplit(ulong random)
    {
        int place = (int)(random % Size);
        bool far = (random & (1 << 8)) != 0;
        switch (_shape)
        {
            case RewrittenShape.Single:
                Value(16UL * (ulong)place, place, far, 0, 0, random);
                break;
            case RewrittenShape.Chain:
                Value(16UL * (ulong)place, place, far, place < Half ? RawSplitRing.Next : (ushort)0, (ushort)(place + Half), random);
                break;
            default:
                Table(16UL * (ulong)place, far, (ulong)RawSplitRing.Indirect << 32, random);
                RewriteTables(random, linked: true);
                break;
        }

        int heads = _shape == RewrittenShape.Chain ? Half : Size;
        _split.AvailableEntry((int)((random >> 16) % Size), IsGarbage(random) ? (ushort)(random >> 40) : (ushort)((random >> 24) % (ulong)heads));
    }

    /// <summary>All descriptors are available at any time, with the wrap counter of the device's next meeting with them; few have the other one.</summary>
    private void RewritePacked(ulong random)
    {
        int place = (int)(random % Size);
        bool far = (random & (1 << 8)) != 0;
        int position = Volatile.Read(ref _position);
        bool wrap = (place >= (position & 0x7FFF)) == ((position & 0x8000) != 0) != ((random >> 52) % 64 == 1);
        ushort turn = wrap ? RawPackedRing.Available : RawPackedRing.Used;
        ulong at = 16UL * (ulong)place;
        switch (_shape)
        {
            case RewrittenShape.Single:
                int id = far ? (place + Half) % Size : place;
                PackedValue(at, id, far, turn, (ushort)id, random);
                break;
            case RewrittenShape.Chain:
                PackedValue(at, place, far, (ushort)(turn | ((place & 1) == 0 ? RawPackedRing.Next : 0)), (ushort)place, random);
                break;
            default:
                Table(at, far, ((ulong)place << 32) | ((ulong)(RawPackedRing.Indirect | turn) << 48), random);
                RewriteTables(random, linked: false);
                break;
        }
    }

    private void Value(ulong at, int place, bool far, ushort flags, ushort next, ulong random)
    {
        uint length = (far ? FarLength : NearLength) + (uint)place;
        flags |= far ? _farFlags : _nearFlags;
        Write(at, far ? Far : DataEnd - length, length | ((ulong)flags << 32) | ((ulong)next << 48), random);
    }

    private void PackedValue(ulong at, int place, bool far, ushort flags, ushort id, ulong random)
    {
        uint length = (far ? FarLength : NearLength) + (uint)place;
        flags |= far ? _farFlags : _nearFlags;
        Write(at, far ? Far : DataEnd - length, length | ((ulong)id << 32) | ((ulong)flags << 48), random);
    }

    /// <summary>A table of two entries that ends where the memory ends, or one of four elsewhere.</summary>
    private void Table(ulong at, bool far, ulong rest, ulong random) => Write(at, far ? Tables : SecondEnd - 32, (far ? 64u : 32u) | rest, random);

    private void RewriteTables(ulong random, bool linked)
    {
        int entry = (int)(random >> 12) & 3;
        bool far = (random & (1 << 10)) != 0;
        bool small = (random & (1 << 11)) != 0 && entry < 2;
        ulong at = small ? SecondEnd - 32 + (16UL * (ulong)entry) : Tables + (16UL * (ulong)entry);
        ushort next = linked && entry < (small ? 1 : 3) ? RawSplitRing.Next : (ushort)0;
        if (linked)
            Value(at, entry, far, next, (ushort)(entry + 1), random);
        else
            PackedValue(at, entry, far, 0, 0, random);
    }

    /// <summary>Each of the two words in one store. One in some thousands is garbage, of which either half is enough to leave the memory.</summary>
    private void Write(ulong at, ulong address, ulong rest, ulong random)
    {
        if (IsGarbage(random))
            (address, rest) = (OutsideAddress(random), (random * 0xD6E8FEB86659FD93) | 0x8000_0000);
        _split.Put(at, address);
        _split.Put(at + 8, rest);
    }

    private static ulong OutsideAddress(ulong random) => ((random >> 32) & 3) switch
    {
        0 => ulong.MaxValue - (random >> 52),
        1 => DataEnd + (random % (SecondStart - DataEnd - 0x2000)),
        2 => SecondEnd - 16,
        _ => SecondEnd + (random >> 44),
    };

    private static bool IsGarbage(ulong random) => (random >> 48) % 4096 == 1;

    /// <summary>What no value names: between ring and tables, behind them, and around the far place.</summary>
    private byte[] Untouched()
    {
        List<byte> bytes = [];
        foreach ((ulong from, ulong to) in ((ulong, ulong)[])[(RingEnd, Tables), (Tables + 0x1000, Far), (Far + FarSize, DataEnd - NearSize), (SecondStart, SecondEnd - 32)])
        {
            for (ulong at = from; at < to; at++)
                bytes.Add(_split.Read<byte>(at));
        }

        return [.. bytes];
    }
}
