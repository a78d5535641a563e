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
            chapter.Add($"{word}-not-offered", Robustness, $"{contract.Name} does no harm to a back-end that does not offer what it belongs to", peer => SayAsync(peer, request, new()), NotOffered(contract));
            chapter.Add($"{word}-not-acknowledged", Robustness, $"{contract.Name} does no harm when what it belongs to was not acknowledged", peer => SayAsync(peer, request, Without(contract)), MessageNeeds.Of(contract));
        }

        return chapter;
    }

    /// <summary>Who does not know a message owes it no reply.</summary>
    private static async Task SayAsync(BackendPeer peer, VhostUserRequest request, Negotiation choice)
    {
        HonestMessage message = await HonestMessage.BeforeAsync(peer, request, choice).ConfigureAwait(false);
        Answer answer = await peer.SayAsync(request, message.Payload, message.Descriptors).ConfigureAwait(false);
        if (answer.Kind is AnswerKind.Refused or AnswerKind.Ended)
            peer.NoteRefusal(answer.Text);
    }

    private static Negotiation Without(MessageContract contract) => new() { Without = contract.RequiredFeatures, WithoutProtocol = contract.RequiredProtocolFeatures };

    private static CaseNeeds NotOffered(MessageContract contract) => new() { AnyMissing = MessageNeeds.Of(contract) };
}
