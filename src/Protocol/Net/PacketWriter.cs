namespace Vhost.Protocol;

/// <summary>Fills a packet from front to back, in as many buffers of its pool as it takes.</summary>
internal struct PacketWriter
{
    private readonly PacketBuffer _first;
    private PacketBuffer _last;

    /// <summary>Starts with the packet empty.</summary>
    internal PacketWriter(PacketBuffer packet)
    {
        packet.Reset();
        _first = packet;
        _last = packet;
    }

    /// <summary>Adds bytes. False, and the packet empty, when the pool has no further buffer.</summary>
    internal bool TryAppend(nint source, uint count)
    {
        while (count > 0)
        {
            if (_last.Tailroom == 0)
            {
                if (!_last.TryExtend(out PacketBuffer? next))
                    return _first.ResetAndFail();
                _last = next;
            }

            uint here = Math.Min((uint)_last.Tailroom, count);
            MappedBytes.Copy(source, _last.AppendAddress((int)here), here);
            source += (nint)here;
            count -= here;
        }

        return true;
    }
}
