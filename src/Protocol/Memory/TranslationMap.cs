namespace Vhost.Protocol;

/// <summary>Translations sorted by I/O virtual address, none overlapping another; answers "where does this address lead" in logarithmic time. Immutable.</summary>
internal sealed class TranslationMap
{
    private readonly Translation[] _translations;
    private readonly ulong[] _starts;

    /// <summary>Takes sorted translations.</summary>
    internal TranslationMap(Translation[] translations)
    {
        _translations = translations;
        _starts = Array.ConvertAll(translations, static translation => translation.Start);
    }

    internal ReadOnlySpan<Translation> All => _translations;

    /// <summary>The translation of an address; null: there is none.</summary>
    internal Translation? Find(ulong address) => TryFindIndex(address, out int index) ? _translations[index] : null;

    /// <summary>What a range lies in, for a part of a ring: as few pieces as there can be, in the order of I/O virtual addresses. Null: not all of it is translated, or not for that.</summary>
    internal MemoryPiece[]? FindPieces(ulong address, ulong length, VhostUserIotlbPermission needed)
    {
        if (length == 0 || address > ulong.MaxValue - (length - 1) || !TryFindIndex(address, out int index))
            return null;
        List<MemoryPiece> pieces = [];
        ulong last = address + (length - 1);
        ulong at = address;
        for (Translation translation = _translations[index]; translation.Allows(needed); translation = _translations[index])
        {
            ulong end = Math.Min(translation.Last, last);
            Append(pieces, translation.PieceOf(at, end - at + 1));
            if (end == last)
                return [.. pieces];
            at = end + 1;
            if (++index == _translations.Length || _translations[index].Start != at)
                return null;
        }

        return null;
    }

    private static void Append(List<MemoryPiece> pieces, in MemoryPiece next)
    {
        if (pieces.Count > 0 && pieces[^1] is var previous && previous.GoesOnWith(next))
            pieces[^1] = previous with { Length = previous.Length + next.Length };
        else
            pieces.Add(next);
    }

    private bool TryFindIndex(ulong address, out int index)
    {
        index = Array.BinarySearch(_starts, address);
        if (index < 0)
            index = ~index - 1;
        return index >= 0 && address <= _translations[index].Last;
    }
}
