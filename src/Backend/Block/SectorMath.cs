using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>Bytes and sectors of 512 bytes.</summary>
internal static class SectorMath
{
    internal const uint SectorSize = VirtioBlkRequestHeader.SectorSize;
    internal const int SectorShift = 9;

    internal static ulong RequireWholeSectors(ulong length) => length % SectorSize == 0 && length <= long.MaxValue
        ? length
        : throw new ArgumentException(
            string.Create(CultureInfo.InvariantCulture, $"Length {length}: must be a multiple of {SectorSize} below 2^63."), nameof(length));

    internal static ulong ToBytes(ulong sectors) => sectors << SectorShift;

    internal static ulong RoundUp(ulong length) => (length + (SectorSize - 1)) / SectorSize * SectorSize;
}
