using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// The parts of one ring whose pages an IOMMU takes from anywhere in memory, each mapped in one piece. What the ring lies in and what it is about to lie in are kept apart, so that it moves only when all of it was found,
/// and what is the same stays.
/// </summary>
/// <remarks>Threading: one thread at a time, that of the ring.</remarks>
internal sealed class JoinedParts(RingIotlb iotlb) : IDisposable
{
    private readonly JoinedMemory?[] _used = new JoinedMemory?[MappedRing.PartCount];
    private readonly JoinedMemory?[] _found = new JoinedMemory?[MappedRing.PartCount];

    /// <summary>Maps a part of which there are several pieces.</summary>
    /// <param name="part">Which part of the ring, from 0.</param>
    /// <param name="pieces">What it lies in; whoever asks holds the table.</param>
    /// <param name="isWritten">Whether the device writes to it.</param>
    /// <param name="address">Where it is mapped.</param>
    /// <param name="why">Why it is not.</param>
    internal bool TryJoin(int part, MemoryPiece[] pieces, bool isWritten, out nint address, out string why)
    {
        why = string.Empty;
        if (_used[part] is { } used && used.IsOf(pieces))
        {
            _found[part] = used;
        }
        else if (Map(pieces, isWritten, out why) is { } made)
        {
            _found[part] = made;
        }

        address = _found[part]?.Address ?? 0;
        return _found[part] is not null;
    }

    /// <summary>The ring lies in what was found last.</summary>
    internal void Accept()
    {
        for (int part = 0; part < _used.Length; part++)
        {
            JoinedMemory? old = _used[part];
            _used[part] = _found[part];
            _found[part] = null;
            if (!ReferenceEquals(old, _used[part]))
                End(old);
        }
    }

    /// <summary>The ring touches none of it any more. It may find its parts again later.</summary>
    public void Dispose()
    {
        for (int part = 0; part < _used.Length; part++)
        {
            if (!ReferenceEquals(_found[part], _used[part]))
                End(_found[part]);
            _found[part] = null;
        }

        Accept();
    }

    private JoinedMemory? Map(MemoryPiece[] pieces, bool isWritten, out string why)
    {
        why = $"a session may have {DeviceIotlb.MostPieces} of such pieces";
        if (!iotlb.TryTakePieces(pieces.Length))
        {
            iotlb.LacksRoom();
            return null;
        }

        try
        {
            return JoinedMemory.Map(pieces, isWritten);
        }
        catch (Exception e) when (e is LinuxException or VhostUserProtocolException)
        {
            iotlb.GivePieces(pieces.Length);
            if (e is LinuxException)
                iotlb.LacksRoom();
            why = e.Message;
            return null;
        }
    }

    private void End(JoinedMemory? joined)
    {
        if (joined is null)
            return;
        joined.Dispose();
        iotlb.GivePieces(joined.Count);
    }
}
