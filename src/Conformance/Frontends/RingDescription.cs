using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>What a front-end has said of a ring.</summary>
internal sealed record RingDescription(uint Size, uint Base, VhostUserVringAddress Address, bool HasKick, bool? IsEnabled, EventNotifier? Kick, EventNotifier? Call)
{
    public static RingDescription None { get; } = new(0, 0, default, false, null, null, null);

    /// <summary>Whether the ring runs. One that was never enabled or disabled runs only where bit 30 is not negotiated.</summary>
    public bool Runs(NegotiatedState state) =>
        HasKick && Size > 0 && (IsEnabled ?? (state.Features & VirtioFeatures.VhostUserProtocolFeatures) == 0);
}
