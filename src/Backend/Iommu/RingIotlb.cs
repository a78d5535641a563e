using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>What one ring has of the translations of its session, and the pace at which it asks for more.</summary>
/// <param name="iotlb">The session's.</param>
/// <param name="rounds">See <see cref="AskPace"/>.</param>
internal sealed class RingIotlb(DeviceIotlb iotlb, int rounds)
{
    internal AskPace Pace { get; } = new(rounds);

    /// <inheritdoc cref="DeviceIotlb.Acquire"/>
    internal GuestMemoryLease Acquire() => iotlb.Acquire();

    /// <inheritdoc cref="DeviceIotlb.Ask"/>
    internal bool Ask(ReadOnlySpan<TranslationMiss> misses) => misses.IsEmpty || iotlb.Ask(misses, Pace.Begins());
}
