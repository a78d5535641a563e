using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>What a device says once and for all, read when its back-end is made: whatever it says or throws later ends no session.</summary>
internal sealed record DeviceTraits(int MostCryptoSessions, VhostUserCryptoLayout NarrowCryptoLayout, ulong[] SharedMemorySizes)
{
    internal static DeviceTraits Of(IVhostUserDevice device) => new(
        device is ICryptoSessionDevice many ? many.MostSessions : 0,
        device is ICryptoSessionDevice narrow ? narrow.NarrowLayout : VhostUserCryptoLayout.WithoutOperation,
        device is ISharedMemoryDevice shares ? [.. shares.SharedMemorySizes] : []);
}
