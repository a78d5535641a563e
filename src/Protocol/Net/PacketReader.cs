namespace Vhost.Protocol;

/// <summary>Reads the bytes of a packet of any number of buffers from front to back.</summary>
internal struct PacketReader
{
    private PacketBuffer? _part;
    private uint _offset;

    internal PacketReader(PacketBuffer packet) => _part = packet;

    /// <summary>Passes over the next bytes; the caller knows that there are as many.</summary>
    internal void Skip(uint count)
    {
        while (_part is not null && count >= (uint)_part.Length - _offset)
        {
            count -= (uint)_part.Length - _offset;
            _part = _part.Next;
            _offset = 0;
        }

        _offset += count;
    }

    /// <summary>Copies the next bytes out; the caller knows that there are as many.</summary>
    /// <param name="destination">Where to.</param>
    /// <param name="count">How many.</param>
    /// <param name="stream">Past the caches; the caller puts <see cref="RingOrdering.StreamedThenStore"/> before what publishes them.</param>
    internal void CopyTo(nint destination, uint count, bool stream = false)
    {
        while (count > 0 && _part is not null)
        {
            uint here = Math.Min((uint)_part.Length - _offset, count);
            if (stream)
                PacketStream.Copy(_part.Data.Slice((int)_offset, (int)here), destination);
            else
                MappedBytes.Copy(_part.Address + (nint)_offset, destination, here);
            destination += (nint)here;
            count -= here;
            _offset += here;
            if (_offset == (uint)_part.Length)
            {
                _part = _part.Next;
                _offset = 0;
            }
        }
    }
}
