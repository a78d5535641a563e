using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>Sizes of payloads and forms of replies, message by message.</summary>
internal static class FramingChapter
{
    private const string Section = "vhost-user: Header, Front-end message types";
    private const int Surplus = 8;

    // Whose replies other chapters are about: one needs a key, one a kernel with userfaultfd, one a transfer before it, and one stops rings.
    private static readonly VhostUserRequest[] _repliesElsewhere =
        [VhostUserRequest.CreateCryptoSession, VhostUserRequest.PostcopyAdvise, VhostUserRequest.CheckDeviceState, VhostUserRequest.GetVringBase];

    public static Chapter Cases { get; } = Create();

    private static Chapter Create()
    {
        Chapter chapter = new("framing", Section);
        foreach ((VhostUserRequest request, string word, MessageContract contract) in MessageNeeds.All)
        {
            CaseNeeds needs = MessageNeeds.Of(contract);
            if (contract.Reply == ReplyRule.Always && !_repliesElsewhere.Contains(request))
                chapter.Add($"{word}-reply", Must, $"The reply to {contract.Name} has the same code, flags 0x5 and the size that the message demands", peer => ReplyAsync(peer, request, contract), needs);
            if (contract.MinPayload > 0)
            {
                chapter.Add($"{word}-short", Robustness, $"{contract.Name} is refused when its payload is a byte too short", peer => SizeAsync(peer, request, contract.MinPayload - 1), needs);
                chapter.Add($"{word}-empty", Robustness, $"{contract.Name} is refused without its payload", peer => SizeAsync(peer, request, 0), needs);
            }

            chapter.Add($"{word}-long", Robustness, $"{contract.Name} with {Surplus} bytes more than its payload is refused, or carried out without them", peer => LongAsync(peer, request), needs);
        }

        chapter.Add("pipelined", Must, "Messages that are sent without waiting are answered one after the other", PipelinedAsync);
        return chapter;
    }

    private static async Task ReplyAsync(BackendPeer peer, VhostUserRequest request, MessageContract contract)
    {
        HonestMessage message = await HonestMessage.BeforeAsync(peer, request).ConfigureAwait(false);
        using ReceivedMessage reply = await peer.AskForAsync(request, message.Payload, message.Descriptors).ConfigureAwait(false);
        int size = reply.Payload.Length;
        bool fits = contract.ReplyPayload.Contains((uint)size) || (contract.ReplyMayHaveRequestSize && size == message.Payload.Length);
        Expect.That(fits, $"a reply to {contract.Name} of {contract.ReplyPayload} bytes", $"{size} bytes");
        int descriptors = reply.Descriptors.Count;
        Expect.That(
            descriptors >= contract.MinReplyDescriptors && descriptors <= contract.MaxReplyDescriptors,
            $"a reply to {contract.Name} with {contract.MinReplyDescriptors} to {contract.MaxReplyDescriptors} descriptors",
            $"{descriptors}");
        await peer.BarrierAsync().ConfigureAwait(false);
    }

    private static async Task SizeAsync(BackendPeer peer, VhostUserRequest request, int size)
    {
        HonestMessage message = await HonestMessage.BeforeAsync(peer, request).ConfigureAwait(false);
        byte[] payload = new byte[size];
        message.Payload.AsSpan(0, Math.Min(size, message.Payload.Length)).CopyTo(payload);
        await peer.BarrierAsync().ConfigureAwait(false); // what a peer finds of the message before where this one is too short is the same in each run
        await peer.RefusedAsync(request, payload, message.Descriptors).ConfigureAwait(false);
    }

    private static async Task LongAsync(BackendPeer peer, VhostUserRequest request)
    {
        HonestMessage message = await HonestMessage.BeforeAsync(peer, request).ConfigureAwait(false);
        await peer.ToleratedAsync(request, new byte[message.Payload.Length + Surplus].Overlaid(message.Payload), message.Descriptors).ConfigureAwait(false);
    }

    private static async Task PipelinedAsync(BackendPeer peer)
    {
        const int messages = 16;
        await peer.SendAsync(VhostUserRequest.SetOwner).ConfigureAwait(false);
        for (int i = 0; i < messages; i++)
            await peer.SendAsync(VhostUserRequest.GetFeatures).ConfigureAwait(false);
        for (int i = 0; i < messages; i++)
            (await peer.ReplyToAsync(VhostUserRequest.GetFeatures).ConfigureAwait(false)).Dispose();
    }

    private static byte[] Overlaid(this byte[] longer, byte[] bytes)
    {
        bytes.CopyTo(longer, 0);
        return longer;
    }
}
