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

    /// <summary>The number of the smallest page that it lies in.</summary>
    internal ulong Page => Address / PageSize;

    /// <summary>Whether the page has a byte of a range.</summary>
    internal bool IsIn(ulong first, ulong last) => Page >= first / PageSize && Page <= last / PageSize;

    /// <summary>Adds what of a range has no such translation, page by page, until the list has so many. What is allowed already is asked for along: one translation serves all.</summary>
    internal static void Find(TranslationMap map, ulong address, ulong length, VhostUserIotlbPermission permission, List<TranslationMiss> misses, int most)
    {
        ulong last = address + (length - 1);
        for (ulong at = address; misses.Count < most;)
        {
            Translation? known = map.Find(at);
            if (known?.Allows(permission) != true)
            {
                misses.Add(new TranslationMiss(at, permission | (known?.Permission ?? VhostUserIotlbPermission.None)));
            }

            ulong end = known?.Last ?? (at | (PageSize - 1));
            if (end >= last)
            {
                return;
            }

            at = end + 1;
        }
    }
}
