using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>Messages that belong to a feature, said to a peer that does not offer it or was not given it.</summary>
internal static class GatesChapter
{
    public static Chapter Cases { get; } = Create();

    private static Chapter Create()
    {
        Chapter chapter = new("gates", "vhost-user: Feature negotiation, Protocol features");
        foreach ((VhostUserRequest request, string word, MessageContract contract) in MessageNeeds.All.Where(static row => MessageNeeds.HasGate(row.Contract)))
        {
            chapter.Add($"{word}-not-offered", Robustness, $"{contract.Name} is refused by a back-end that does not offer what it belongs to", peer => SayAsync(peer, request), NotOffered(contract));
            chapter.Add($"{word}-not-acknowledged", Robustness, $"{contract.Name} does no harm when what it belongs to was not acknowledged", peer => UnacknowledgedAsync(peer, request, contract), Offered(contract));
        }

        return chapter;
    }

    private static async Task SayAsync(BackendPeer peer, VhostUserRequest request)
    {
        await FramingChapter.ReadyAsync(peer, request).ConfigureAwait(false);
        HonestMessage message = HonestMessage.Of(peer, request);
        await peer.RefusedAsync(request, message.Payload, message.Descriptors).ConfigureAwait(false);
    }

    private static async Task UnacknowledgedAsync(BackendPeer peer, VhostUserRequest request, MessageContract contract)
    {
        await peer.NegotiateAsync(new() { Without = contract.RequiredFeatures, WithoutProtocol = contract.RequiredProtocolFeatures }).ConfigureAwait(false);
        HonestMessage message = HonestMessage.Of(peer, request);
        await peer.ToleratedAsync(request, message.Payload, message.Descriptors).ConfigureAwait(false);
    }

    private static CaseNeeds NotOffered(MessageContract contract) =>
        new() { AnyMissing = MessageNeeds.Of(contract) };

    private static CaseNeeds Offered(MessageContract contract) => MessageNeeds.Of(contract);
}
