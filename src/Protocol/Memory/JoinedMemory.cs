namespace Vhost.Protocol;

/// <summary>Pieces of guest memory that are mapped a second time, one behind the other: for a part of a ring whose pages an IOMMU takes from anywhere.</summary>
/// <remarks>
/// Ownership: the mappings are its own. They stay until it is disposed, whatever becomes of the regions, so its user ends it before he says that he uses the regions no more. One thread at a time.
/// </remarks>
internal sealed class JoinedMemory : IDisposable
{
    private readonly AddressReservation _range;
    private readonly MemoryPiece[] _pieces;

    private JoinedMemory(AddressReservation range, MemoryPiece[] pieces, nint address) => (_range, _pieces, Address) = (range, pieces, address);

    /// <summary>Where the first byte of the first piece is mapped.</summary>
    internal nint Address { get; }

    /// <summary>How many pieces, each of which is a mapping of the process.</summary>
    internal int Count => _pieces.Length;

    /// <summary>Maps pieces, which only meet where pages end.</summary>
    /// <param name="pieces">At least one; the caller holds their regions.</param>
    /// <param name="writable">Whether they may be written to.</param>
    /// <exception cref="VhostUserProtocolException">They do not consist of whole pages of their files.</exception>
    /// <exception cref="LinuxException">The process has no room for the mappings.</exception>
    internal static JoinedMemory Map(MemoryPiece[] pieces, bool writable)
    {
        ulong page = (ulong)Environment.SystemPageSize;
        ulong lead = pieces[0].FileOffset % page;
        ulong length = pieces.Aggregate(lead, static (sum, piece) => checked(sum + piece.Length));
        AddressReservation range = AddressReservation.Reserve(WholePages(length, page));
        try
        {
            ulong at = 0;
            foreach (MemoryPiece piece in pieces)
            {
                ulong before = at == 0 ? lead : 0;
                range.Map(at, piece.Region.Memory.Descriptor, piece.FileOffset - before, WholePages(before + piece.Length, page), writable);
                at += before + piece.Length;
            }

            return new JoinedMemory(range, pieces, range.Address + (nint)lead);
        }
        catch
        {
            range.Dispose();
            throw;
        }
    }

    /// <summary>Whether it consists of these.</summary>
    internal bool IsOf(ReadOnlySpan<MemoryPiece> pieces) => pieces.SequenceEqual(_pieces);

    public void Dispose() => _range.Dispose();

    private static ulong WholePages(ulong length, ulong page) => checked(length + (page - 1)) / page * page;
}
