using Vhost.Protocol;

namespace Vhost.Backend.Tests;

/// <summary>One feature on which it depends whether a message is taken.</summary>
/// <param name="Name">As the log names it.</param>
/// <param name="Protocol">Its bit among the protocol features, or none.</param>
/// <param name="Features">Its bit among the features, or none.</param>
/// <param name="IsOffer">It need only be offered, so that it is the back-end who withholds it; else the front-end, who does not acknowledge it.</param>
/// <param name="Excludes">The other way around: the message is refused when the front-end has acknowledged it.</param>
internal readonly record struct MessageGate(
    string Name, VhostUserProtocolFeatures Protocol = VhostUserProtocolFeatures.None, VirtioFeatures Features = VirtioFeatures.None, bool IsOffer = false, bool Excludes = false);
