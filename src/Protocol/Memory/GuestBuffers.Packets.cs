namespace Vhost.Protocol;

/// <summary>Copies between guest memory and packets, and from guest to guest.</summary>
public readonly ref partial struct GuestBuffers
{
    /// <summary>Copies as many bytes as both lists have, from guest memory to guest memory, which may be another guest's.</summary>
    /// <returns>The bytes copied.</returns>
    public uint CopyTo(GuestBuffers destination)
    {
        uint total = Math.Min(Length, destination.Length);
        Cursor from = new(this, total);
        Cursor to = new(destination, total);
        nint source = 0;
        nint target = 0;
        uint here = 0;
        uint there = 0;
        for (uint left = total; left > 0;)
        {
            if (here == 0 && from.MoveNext())
                (source, here) = (from.Address, from.Count);
            if (there == 0 && to.MoveNext())
                (target, there) = (to.Address, to.Count);
            uint count = Math.Min(here, there);
            MappedBytes.Copy(source, target, count);
            (source, here) = (source + (nint)count, here - count);
            (target, there) = (target + (nint)count, there - count);
            left -= count;
        }

        return total;
    }

    /// <summary>Makes a packet a copy of the list, in as many buffers as it takes. False, and the packet empty, when its pool has not enough.</summary>
    internal bool TryCopyTo(PacketBuffer packet)
    {
        PacketWriter writer = new(packet);
        for (Cursor cursor = GetCursor(); cursor.MoveNext();)
        {
            if (!writer.TryAppend(cursor.Address, cursor.Count))
                return false;
        }

        return true;
    }

    /// <summary>Fills the start of the list with the next bytes of a packet; the caller has compared with <see cref="Length"/>.</summary>
    internal void CopyFrom(ref PacketReader reader, uint count, bool stream)
    {
        for (Cursor cursor = new(this, count); cursor.MoveNext();)
            reader.CopyTo(cursor.Address, cursor.Count, stream);
    }
}
