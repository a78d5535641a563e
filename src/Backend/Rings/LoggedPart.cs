using System.Diagnostics;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>Where a part of a ring lies for the guest, to mark what is written to it: at the address that the front-end says, or in the pieces of memory where it was found.</summary>
internal sealed class LoggedPart
{
    private readonly (ulong Guest, ulong Length)[] _pieces;

    private LoggedPart((ulong Guest, ulong Length)[] pieces) => _pieces = pieces;

    /// <summary>The front-end may have said any address.</summary>
    internal static LoggedPart Said(ulong guestAddress) => new([(guestAddress, ulong.MaxValue)]);

    /// <summary>Null: not all of it is memory.</summary>
    internal static LoggedPart? Find(GuestMemory table, UserAddress address, ulong length) =>
        table.FindRingPart(address, length, VhostUserIotlbPermission.WriteOnly) is { } pieces
            ? new LoggedPart(Array.ConvertAll(pieces, static piece => (piece.GuestAddress.Value, piece.Length)))
            : null;

    /// <summary>Marks bytes of the part.</summary>
    internal void Mark(QueueLog log, ulong offset, ulong length)
    {
        foreach ((ulong guest, ulong bytes) in _pieces)
        {
            if (offset >= bytes)
            {
                offset -= bytes;
                continue;
            }

            ulong here = Math.Min(length, bytes - offset);
            log.Wrote(guest, offset, here);
            length -= here;
            offset = 0;
            if (length == 0)
                return;
        }

        Debug.Assert(length == 0, "Parts are found as long as they are marked.");
    }
}
