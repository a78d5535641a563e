using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>
/// The device's half of a ring of single buffers, split or packed: it completes requests as it should, while a thread rewrites all that it said, and all that the driver said
/// as well. A completion that nobody lied about has one of two lengths that tell its id; length and id stand in one word and can never be mixed.
/// </summary>
internal sealed class RewrittenUsedRing : IDisposable
{
    internal const int Size = 64;
    internal const uint Near = 1000;
    internal const uint Far = 1500;

    private readonly RawSplitRing? _split;
    private readonly RawPackedRing? _packed;
    private readonly ushort[] _ids = new ushort[Size];
    private readonly Action<ulong>? _alsoRewrite;
    private Rewriter? _rewriter;
    private int _next;
    private bool _wrap = true;

    internal RewrittenUsedRing(GuestMemory memory, VringSettings said, bool packed, Action<ulong>? alsoRewrite = null)
    {
        _alsoRewrite = alsoRewrite;
        if (packed)
            _packed = new RawPackedRing(memory, said.DescriptorTable.Value, said.AvailableRing.Value, said.UsedRing.Value, Size);
        else
            _split = new RawSplitRing(memory, said.DescriptorTable.Value, said.AvailableRing.Value, said.UsedRing.Value, Size);
    }

    /// <summary>From here on everything is rewritten.</summary>
    internal void Rewrite() => _rewriter = new Rewriter(_packed is null ? RewriteSplit : RewritePacked);

    /// <summary>The driver has started over.</summary>
    internal void Restart() => (_next, _wrap) = (0, true);

    /// <summary>Completes the requests that were made available next.</summary>
    internal void Complete(ReadOnlySpan<ushort> ids)
    {
        foreach (ushort id in ids)
        {
            int place = _next % Size;
            Volatile.Write(ref _ids[place], id);
            if (_packed is not null)
                PutPacked(place, id, Near + id, (ushort)(RawPackedRing.Write | (_wrap ? RawPackedRing.Available | RawPackedRing.Used : 0)));
            else
                PutSplit(place, id, Near + id);
            _next++;
            _wrap ^= _next % Size == 0;
        }

        if (_split is not null)
            _split.UsedIndex = (ushort)_next;
    }

    public void Dispose()
    {
        _rewriter?.Dispose();
        _split?.Dispose();
        _packed?.Dispose();
    }

    private (uint Id, uint Length) Lie(ulong random, int place) => ((random >> 40) % 512) switch
    {
        0 => ((uint)random, (uint)(random >> 20)),
        1 or 2 => ((uint)(random >> 20) % Size, uint.MaxValue - (uint)(random >> 50)),
        < 8 => OneOfTwo((uint)(random >> 20) % Size, random),
        _ => OneOfTwo(Volatile.Read(ref _ids[place]), random),
    };

    private static (uint Id, uint Length) OneOfTwo(uint id, ulong random) => (id, id + ((random & 0x100) != 0 ? Near : Far));

    /// <summary>An element that lies on two cache lines can be seen half written, and is a mix then before anybody has read it.</summary>
    private static bool IsOnTwoLines(int place) => place % 8 == 7;

    private void PutSplit(int place, uint id, uint length) => _split!.Put(_split.UsedRing.Value + 4 + (8UL * (ulong)place), id | ((ulong)length << 32));

    private void PutPacked(int place, ushort id, uint length, ushort flags) =>
        _packed!.Put(_packed.DescriptorRing.Value + (16UL * (ulong)place) + 8, length | ((ulong)id << 32) | ((ulong)flags << 48));

    private void RewriteSplit(ulong random)
    {
        int place = (int)(random % Size);
        (uint id, uint length) = Lie(random, place);
        if (!IsOnTwoLines(place))
            PutSplit(place, id, length);
        _split!.Descriptor(place, random, (uint)random, (ushort)random, (ushort)random);
        _split.AvailableEntry(place, (ushort)random);
        _split.AvailEvent = (ushort)random;
        if (random >> 52 == 1)
            _split.UsedIndex = (ushort)random;
        _alsoRewrite?.Invoke(random);
    }

    private void RewritePacked(ulong random)
    {
        int place = (int)(random % Size);
        (uint id, uint length) = Lie(random, place);
        ushort flags = (ushort)(RawPackedRing.Write | ((random >> 52) switch { < 8 => (ushort)random, < 2048 => RawPackedRing.Available | RawPackedRing.Used, _ => 0 }));
        _packed!.Put(_packed.DescriptorRing.Value + (16UL * (ulong)place), random);
        if ((random & 0x600) == 0)
            PutPacked(place, (ushort)id, length, flags);
        _packed.DeviceEvent = (uint)random;
        _alsoRewrite?.Invoke(random);
    }
}
