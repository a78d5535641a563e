using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>Sizes of payloads and forms of replies, message by message.</summary>
internal static class FramingChapter
{
    private const string Section = "vhost-user: Header, Front-end message types";
    private const int Surplus = 8;

    public static Chapter Cases { get; } = Create();

    private static Chapter Create()
    {
        Chapter chapter = new("framing", Section);
        foreach ((VhostUserRequest request, string word, MessageContract contract) in MessageNeeds.All)
        {
            CaseNeeds needs = MessageNeeds.Of(contract);
            if (contract.Reply == ReplyRule.Always && request != VhostUserRequest.CreateCryptoSession)
                chapter.Add($"{word}-reply", Must, $"The reply to {contract.Name} has the same code, flags 0x5 and the size that the message demands", peer => ReplyAsync(peer, request, contract), needs);
            if (contract.MinPayload > 0)
            {
                chapter.Add($"{word}-short", Robustness, $"{contract.Name} is refused when its payload is a byte too short", peer => SizeAsync(peer, request, contract.MinPayload - 1), needs);
                chapter.Add($"{word}-empty", Robustness, $"{contract.Name} is refused without its payload", peer => SizeAsync(peer, request, 0), needs);
            }

            chapter.Add($"{word}-long", Robustness, $"{contract.Name} with {Surplus} bytes more than its payload is refused, or carried out without them", peer => LongAsync(peer, request), needs);
        }

        chapter.Add("pipelined", Must, "Messages that are sent without waiting are answered one after the other", PipelinedAsync);
        chapter.Add("one-write", Should, "Several messages that arrive in one piece are answered one after the other", OneWriteAsync);
        return chapter;
    }

    private static async Task ReplyAsync(BackendPeer peer, VhostUserRequest request, MessageContract contract)
    {
        await ReadyAsync(peer, request).ConfigureAwait(false);
        HonestMessage message = HonestMessage.Of(peer, request);
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
        await ReadyAsync(peer, request).ConfigureAwait(false);
        HonestMessage message = HonestMessage.Of(peer, request);
        byte[] payload = new byte[size];
        message.Payload.AsSpan(0, Math.Min(size, message.Payload.Length)).CopyTo(payload);
        await peer.RefusedAsync(request, payload, message.Descriptors).ConfigureAwait(false);
    }

    private static async Task LongAsync(BackendPeer peer, VhostUserRequest request)
    {
        await ReadyAsync(peer, request).ConfigureAwait(false);
        HonestMessage message = HonestMessage.Of(peer, request);
        await peer.ToleratedAsync(request, new byte[message.Payload.Length + Surplus].Overlaid(message.Payload), message.Descriptors).ConfigureAwait(false);
    }

    private static async Task PipelinedAsync(BackendPeer peer)
    {
        const int messages = 16;
        for (int i = 0; i < messages; i++)
            await peer.SendAsync(VhostUserRequest.GetFeatures).ConfigureAwait(false);
        for (int i = 0; i < messages; i++)
            (await peer.ReplyToAsync(VhostUserRequest.GetFeatures).ConfigureAwait(false)).Dispose();
    }

    private static async Task OneWriteAsync(BackendPeer peer)
    {
        const int messages = 4;
        byte[] bytes = new byte[messages * VhostUserHeader.EncodedSize];
        for (int i = 0; i < messages; i++)
            VhostUserHeader.ForRequest(VhostUserRequest.GetFeatures, 0).Write(bytes.AsSpan(i * VhostUserHeader.EncodedSize));
        await peer.Main.SendRawAsync(bytes, "GET_FEATURES four times").ConfigureAwait(false);
        for (int i = 0; i < messages; i++)
            (await peer.ReplyToAsync(VhostUserRequest.GetFeatures).ConfigureAwait(false)).Dispose();
    }

    /// <summary>What must have been said before. A postcopy is advised before there is memory.</summary>
    internal static async Task ReadyAsync(BackendPeer peer, VhostUserRequest request)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        if (request is not (VhostUserRequest.PostcopyAdvise or VhostUserRequest.PostcopyListen or VhostUserRequest.PostcopyEnd or VhostUserRequest.SetMemTable))
            await peer.ShareMemoryAsync().ConfigureAwait(false);
    }

    private static byte[] Overlaid(this byte[] longer, byte[] bytes)
    {
        bytes.CopyTo(longer, 0);
        return longer;
    }
}
