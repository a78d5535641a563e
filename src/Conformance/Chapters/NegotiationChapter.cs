using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>Who offers what, who acknowledges what, and that it stays so.</summary>
internal static class NegotiationChapter
{
    public static Chapter Cases { get; } = new("negotiation", "vhost-user: Communication, Feature negotiation")
    {
        { "first-words", Must, "SET_OWNER and GET_FEATURES are the first words of a session and are answered", static peer => peer.NegotiateAsync() },
        { "features-stay", Must, "GET_FEATURES answers the same each time it is asked", FeaturesStayAsync },
    };

    private static async Task FeaturesStayAsync(BackendPeer peer)
    {
        ulong first = await peer.AskU64Async(VhostUserRequest.GetFeatures).ConfigureAwait(false);
        ulong second = await peer.AskU64Async(VhostUserRequest.GetFeatures).ConfigureAwait(false);
        Expect.Equal(first, second, "the features");
    }
}
