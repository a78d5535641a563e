using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>The places of one received packet that is lent.</summary>
internal sealed class LentPlaces(NetReceiver owner) : LentBuffer
{
    private uint[] _slots = new uint[4];
    private int _count;
    private BufferSegment[] _segments = new BufferSegment[4];
    private uint _header;
    private uint _total;
    private GuestMemoryLease _lease;

    /// <summary>Which places they are.</summary>
    internal ReadOnlySpan<uint> Slots => _slots.AsSpan(0, _count);

    internal override GuestBuffers Bytes => new GuestBuffers(_segments.AsSpan(0, _count), _total).Slice(_header);

    /// <summary>Starts anew, without places.</summary>
    internal void Hold(GuestMemoryLease lease, uint headerLength)
    {
        _lease = lease;
        _header = headerLength;
        _total = 0;
        _count = 0;
    }

    internal void Add(uint slot, nint address, uint length)
    {
        if (_count == _slots.Length)
        {
            Array.Resize(ref _segments, 2 * _count);
            Array.Resize(ref _slots, 2 * _count);
        }

        _segments[_count] = new BufferSegment(address, length);
        _slots[_count++] = slot;
        _total += length;
    }

    internal override ILender Owner => owner;

    protected override void GiveBack(bool tell)
    {
        GuestMemoryLease lease = _lease;
        _lease = default;
        owner.Return(this);
        if (tell)
            Owner.TakeBackSoon();
        lease.Dispose();
    }
}
