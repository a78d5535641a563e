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

    /// <summary>
    /// Where a range is mapped in one piece, for a part of a ring: in one translation, or in several of which each goes on where the one before ends, in I/O virtual addresses and in the mapping.
    /// </summary>
    internal bool TryFindWhole(ulong address, ulong length, VhostUserIotlbPermission needed, out nint mapped)
    {
        mapped = 0;
        if (length == 0 || address > ulong.MaxValue - (length - 1) || !TryFindIndex(address, out int index))
            return false;
        ulong last = address + (length - 1);
        Translation translation = _translations[index];
        mapped = translation.Address + (nint)(address - translation.Start);
        while (translation.Allows(needed))
        {
            if (translation.Last >= last)
                return true;
            if (index + 1 == _translations.Length)
                return false;
            Translation next = _translations[++index];
            if (next.Start != translation.Last + 1 || next.Address != translation.Address + (nint)(next.Start - translation.Start) || !ReferenceEquals(next.Region, translation.Region))
                return false;
            translation = next;
        }

        return false;
    }

    private bool TryFindIndex(ulong address, out int index)
    {
        index = Array.BinarySearch(_starts, address);
        if (index < 0)
            index = ~index - 1;
        return index >= 0 && address <= _translations[index].Last;
    }
}
