using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>What a front-end has said of a ring.</summary>
/// <remarks>The notifiers are owned by whoever has the last description: see <see cref="ReplaceWith"/>.</remarks>
internal sealed record RingDescription(uint Size, uint Base, VhostUserVringAddress Address, bool HasKick, bool? IsEnabled, EventNotifier? Kick, EventNotifier? Call)
{
    public static RingDescription None { get; } = new(0, 0, default, false, null, null, null);

    /// <summary>Whether the ring runs. One that was never enabled or disabled runs only where bit 30 is not negotiated.</summary>
    public bool Runs(NegotiatedState state) =>
        HasKick && Size > 0 && (IsEnabled ?? (state.Features & VirtioFeatures.VhostUserProtocolFeatures) == 0);

    /// <summary>Closes the notifiers that another description of the ring does not have any more.</summary>
    public void ReplaceWith(RingDescription other)
    {
        if (Kick != other.Kick)
            Kick?.Dispose();
        if (Call != other.Call)
            Call?.Dispose();
    }
}
