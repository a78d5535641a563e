using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>What one ring has of the translations of its session, and the pace at which it asks for more.</summary>
/// <param name="iotlb">The session's.</param>
/// <param name="rounds">See <see cref="AskPace"/>.</param>
/// <param name="mostAhead">See <see cref="MostAhead"/>.</param>
internal sealed class RingIotlb(DeviceIotlb iotlb, int rounds, int mostAhead = 0)
{
    internal AskPace Pace { get; } = new(rounds);

    /// <summary>Misses up to which chains are looked at behind one that waits: few, where few translations are kept, as the answers must not drive out what that one needs.</summary>
    internal int MostAhead { get; } = mostAhead;

    /// <inheritdoc cref="DeviceIotlb.Acquire"/>
    internal GuestMemoryLease Acquire() => iotlb.Acquire();

    /// <inheritdoc cref="DeviceIotlb.TellRefused"/>
    internal void TellRefused(TranslationMiss refused) => iotlb.TellRefused(refused);

    /// <inheritdoc cref="DeviceIotlb.TryTakePieces"/>
    internal bool TryTakePieces(int count) => iotlb.TryTakePieces(count);

    /// <inheritdoc cref="DeviceIotlb.GivePieces"/>
    internal void GivePieces(int count) => iotlb.GivePieces(count);

    /// <inheritdoc cref="DeviceIotlb.LacksRoom"/>
    internal void LacksRoom() => iotlb.LacksRoom();

    /// <inheritdoc cref="DeviceIotlb.Ask"/>
    internal bool Ask(ReadOnlySpan<TranslationMiss> misses) => misses.IsEmpty || iotlb.Ask(misses, Pace.Begins());
}
