using System.Runtime.InteropServices;

namespace Vhost.Protocol;

/// <summary>An address that a ring needs and that no translation has.</summary>
/// <param name="Address">The I/O virtual address.</param>
/// <param name="Permission">What is to be done there.</param>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct TranslationMiss(ulong Address, VhostUserIotlbPermission Permission)
{
    /// <summary>Bytes of the smallest page of an IOMMU.</summary>
    internal const ulong PageSize = 4096;

    /// <summary>Adds what of a range has no translation, page by page, until the list has so many.</summary>
    internal static void Find(TranslationMap map, ulong address, ulong length, VhostUserIotlbPermission permission, List<TranslationMiss> misses, int most)
    {
        ulong last = address + (length - 1);
        for (ulong at = address; misses.Count < most;)
        {
            Translation? known = map.Find(at);
            if (known is null)
            {
                misses.Add(new TranslationMiss(at, permission));
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
