namespace Vhost.Protocol;

/// <summary>A table in the I/O virtual addresses of an IOMMU. It has no regions; what it has are translations, each of which knows by itself who uses it.</summary>
public sealed partial class GuestMemory
{
    private readonly TranslationMap? _translations;

    /// <summary>The table behind the translations, which knows guest addresses. Not held: its numbers stay true for mappings that the translations hold.</summary>
    private readonly GuestMemory? _physical;

    private GuestMemory(TranslationMap translations, GuestMemory physical)
        : this([])
    {
        _translations = translations;
        _physical = physical;
        foreach (Translation translation in translations.All)
        {
            translation.Hold();
        }
    }

    /// <summary>What is translated; null for a table in guest addresses.</summary>
    internal TranslationMap? Translations => _translations;

    /// <summary>Makes a table out of translations that the caller holds, sorted and not overlapping.</summary>
    /// <param name="translations">What it has; the table holds each of them by itself.</param>
    /// <param name="physical">The table of guest memory that they lead to.</param>
    internal static GuestMemory Translated(ReadOnlySpan<Translation> translations, GuestMemory physical) => new(new TranslationMap(translations.ToArray()), physical);

    /// <summary>
    /// A claim on some translations of this table alone, which the caller's own lease keeps meanwhile: whoever keeps buffers for long must not keep the others from going.
    /// </summary>
    /// <param name="used">Those that the buffers lie in; one may come several times.</param>
    internal GuestMemoryLease AcquirePart(ReadOnlySpan<Translation> used)
    {
        HashSet<Translation> distinct = new(used.Length);
        foreach (Translation translation in used)
        {
            distinct.Add(translation);
        }

        GuestMemory part = new(new TranslationMap([.. distinct]), _physical!);
        GuestMemoryLease lease = part.Acquire();
        part.Dispose();
        return lease;
    }

    /// <summary>
    /// What a part of a ring lies in, given by the address that the front-end says for it: an address of its own, which is one piece, or an I/O virtual one. Null: not all of it is memory, or not for that.
    /// </summary>
    internal MemoryPiece[]? FindRingPart(UserAddress address, ulong length, VhostUserIotlbPermission needed)
    {
        if (_translations is { } translations)
            return translations.FindPieces(address.Value, length, needed);
        return length > 0 && _byUser.TryFind(address.Value, length, out int index, out ulong offset) ? [new MemoryPiece(_byUser[index], offset, length)] : null;
    }

    private void ReleaseTranslations()
    {
        if (_translations is null)
        {
            return;
        }

        foreach (Translation translation in _translations.All)
        {
            translation.Release();
        }
    }
}
