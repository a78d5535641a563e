using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>Packets that are not one plain buffer: scattered, with work left to the device, with a descriptor for the header, or long while the arena is full.</summary>
public sealed partial class NetSender
{
    /// <summary>False when the packet was not taken: there is no room at present, or it can never be sent.</summary>
    private bool TrySendOther(PacketBuffer packet, out bool refused)
    {
        uint length = (uint)packet.PacketLength;
        (ulong word, ushort checksumOffset) = (0, 0);
        refused = length == 0 || length > (uint)MaxPacketLength || !Shape.Offloads.TryPrepare(packet, length, out word, out checksumOffset);
        if (refused)
        {
            Counters.Refused++;
            return false;
        }

        if (!TryWriteOther(packet, length, word, checksumOffset, out int buffers, out ulong token))
        {
            Collect();
            if (Ring.Fault != VirtqueueFault.None || !TryWriteOther(packet, length, word, checksumOffset, out buffers, out token))
                return false;
        }

        Ring.Streamed |= _stream;
        Ring.TrySubmit(_chain.AsSpan(0, buffers), [], token);
        return true;
    }

    /// <summary>Writes a packet as one buffer into the arena, or into places as its pieces. False when there is no room for it at present.</summary>
    private bool TryWriteOther(PacketBuffer packet, uint length, ulong word, ushort checksumOffset, out int buffers, out ulong token)
    {
        (buffers, token) = (0, 0);
        if (_arena is { } arena)
        {
            if (Ring.FreeDescriptors == 0)
                return false;
            if (arena.TryReserve(1, arena.SizeOf(length), out uint offset, out token))
            {
                _chain[0] = new GuestBuffer(new GuestAddress(arena.WriteAny(packet, length, offset, word, checksumOffset, _stream)), _slots.HeaderLength + length);
                buffers = 1;
                return true;
            }
        }

        uint pieces = (_slots.HeaderLength + length + _slots.Size - 1) / _slots.Size;
        if (_free.Count < pieces || Ring.FreeDescriptors < pieces + (Shape.SeparateHeader ? 1 : 0))
            return false;
        uint first = _free.Take();
        _slots.WriteHeader(first, word, checksumOffset);
        buffers = WritePieces(packet, length, first);
        token = first;
        return true;
    }

    /// <summary>Copies a packet into as many places as it takes, the first one behind its header, and lists them as the buffers of a chain.</summary>
    private int WritePieces(PacketBuffer packet, uint left, uint slot)
    {
        PacketReader reader = new(packet);
        uint at = _slots.HeaderLength;
        int buffers = 0;
        while (true)
        {
            uint count = Math.Min(_slots.Size - at, left);
            reader.CopyTo(_slots.Address(slot, at, count), count, _stream);
            GuestAddress place = _places[slot].Address;
            if (buffers == 0 && Shape.SeparateHeader)
            {
                _chain[buffers++] = new GuestBuffer(place, at);
                _chain[buffers++] = new GuestBuffer(new GuestAddress(place.Value + at), count);
            }
            else
            {
                _chain[buffers++] = new GuestBuffer(place, at + count);
            }

            left -= count;
            if (left == 0)
                return buffers;
            uint next = _free.Take();
            _next[slot] = (ushort)next;
            slot = next;
            at = 0;
        }
    }
}
