using System.Runtime.InteropServices;

namespace Vhost.Protocol;

/// <summary>An address that a ring needs and that no translation has, or none that allows what is to be done.</summary>
/// <param name="Address">The I/O virtual address.</param>
/// <param name="Permission">What is to be done there.</param>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct TranslationMiss(ulong Address, VhostUserIotlbPermission Permission)
{
    /// <summary>Bytes of the smallest page of an IOMMU.</summary>
    internal const ulong PageSize = 4096;

    /// <summary>Places that are looked at for misses, many of which may lie in one page.</summary>
    internal const int MostPlaces = 1024;

    /// <summary>The number of the smallest page that it lies in.</summary>
    internal ulong Page => Address / PageSize;

    /// <summary>Whether the page has a byte of a range.</summary>
    internal bool IsIn(ulong first, ulong last) => Page >= first / PageSize && Page <= last / PageSize;

    /// <summary>Adds what of a range has no such translation, page by page, until the list has so many. What is allowed already is asked for along: one translation serves all.</summary>
    internal static void Find(TranslationMap map, ulong address, ulong length, VhostUserIotlbPermission permission, List<TranslationMiss> misses, int most, int from = 0)
    {
        ulong last = address + (length - 1);
        ulong at = address;
        for (int places = 0; misses.Count < most && places < MostPlaces;)
        {
            Translation? known = map.Find(at);
            if (known?.Allows(permission) != true)
            {
                Note(at, permission, known, misses, from);
                places++;
            }

            ulong end = EndOf(at, known);
            if (end >= last)
            {
                return;
            }

            at = end + 1;
        }
    }

    /// <summary>
    /// Adds one. Whoever needs the same page for something else asks for both at once. What another one asks for does not grow with it: he would wait for what he has no need of, and which nobody may be allowed.
    /// </summary>
    /// <param name="address">The address.</param>
    /// <param name="permission">What is to be done there.</param>
    /// <param name="known">Its translation, which allows less; null: it has none.</param>
    /// <param name="misses">Where it goes.</param>
    /// <param name="from">Those before it are other ones'.</param>
    internal static void Note(ulong address, VhostUserIotlbPermission permission, Translation? known, List<TranslationMiss> misses, int from)
    {
        TranslationMiss miss = new(address, permission | (known?.Permission ?? VhostUserIotlbPermission.None));
        for (int i = 0; i < misses.Count; i++)
        {
            VhostUserIotlbPermission both = misses[i].Permission | miss.Permission;
            if (misses[i].Page == miss.Page && (i >= from || both == misses[i].Permission))
            {
                misses[i] = misses[i] with { Permission = both };
                return;
            }
        }

        misses.Add(miss);
    }

    /// <summary>The last address of which the same is known as of this one.</summary>
    internal static ulong EndOf(ulong address, Translation? known) => known?.Last ?? (address | (PageSize - 1));
}
