using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>Packets that are not one plain buffer: long, scattered, with work left to the device, or with a descriptor for the header.</summary>
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

        uint pieces = (_slots.HeaderLength + length + _slots.Size - 1) / _slots.Size;
        if (!HasRoom(pieces))
        {
            Collect();
            if (!HasRoom(pieces) || Ring.Fault != VirtqueueFault.None)
                return false;
        }

        uint first = _free.Take();
        _slots.WriteHeader(first, word, checksumOffset);
        int buffers = WritePieces(packet, length, first);
        Ring.TrySubmit(_chain.AsSpan(0, buffers), [], first);
        return true;
    }

    private bool HasRoom(uint pieces) => _free.Count >= pieces && Ring.FreeDescriptors >= pieces + (Shape.SeparateHeader ? 1 : 0);

    /// <summary>Copies a packet into as many places as it takes, the first one behind its header, and lists them as the buffers of a chain.</summary>
    private int WritePieces(PacketBuffer packet, uint left, uint slot)
    {
        PacketReader reader = new(packet);
        uint at = _slots.HeaderLength;
        int buffers = 0;
        while (true)
        {
            uint count = Math.Min(_slots.Size - at, left);
            reader.CopyTo(_slots.Address(slot, at, count), count);
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
