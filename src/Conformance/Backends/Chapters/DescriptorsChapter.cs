using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>How many descriptors travel with a message and of what kind, and that nobody keeps those that belong to none.</summary>
internal static class DescriptorsChapter
{
    private const string Section = "vhost-user: Communication, Front-end message types";

    // Of the timeout: a close(2) waits for nobody, and there are many of these cases.
    private const double ShareOfClosing = 0.25;

    public static Chapter Cases { get; } = Create();

    private static Chapter Create()
    {
        Chapter chapter = new("descriptors", Section);
        foreach ((VhostUserRequest request, string word, MessageContract contract) in MessageNeeds.All)
        {
            CaseNeeds needs = MessageNeeds.Of(contract);
            if (contract.MinDescriptors > 0)
                chapter.Add($"{word}-missing", Robustness, $"{contract.Name} is refused without its descriptor", peer => MissingAsync(peer, request), needs);
            chapter.Add($"{word}-surplus", Robustness, $"A descriptor that does not belong to {contract.Name} is closed", peer => SurplusAsync(peer, request, contract, 1), needs);
        }

        foreach (VhostUserRequest request in (VhostUserRequest[])[VhostUserRequest.SetVringKick, VhostUserRequest.SetVringCall, VhostUserRequest.SetVringErr])
        {
            string word = request.ToString()["SetVring".Length..].ToLowerInvariant();
            chapter.Add($"{word}-without-bit-8", Robustness, $"{MessageContracts.NameOf(request)} whose bit 8 announces a descriptor is refused, or taken for one without, when none comes", peer => ToleratedWithoutAsync(peer, request));
            chapter.Add($"{word}-closed-at-the-end", Should, $"The descriptor of {MessageContracts.NameOf(request)} is closed when the connection ends", peer => ClosedAtTheEndAsync(peer, request));
            foreach ((string kind, Func<SafeFileHandle> open) in OddKinds.All)
                chapter.Add($"{word}-{kind}", Robustness, $"{MessageContracts.NameOf(request)} with {OddKinds.Named(kind)} does no harm", peer => OddAsync(peer, request, BackendPeer.RingWord(0), open));
        }

        chapter.Add("call-replaced-is-closed", Robustness, "A call descriptor that another one replaces is closed at once", ReplacedAsync);
        foreach ((string kind, Func<SafeFileHandle> open) in OddKinds.All)
            chapter.Add($"set-mem-table-{kind}", Robustness, $"VHOST_USER_SET_MEM_TABLE with {OddKinds.Named(kind)} for memory is refused", peer => OddMemoryAsync(peer, open));
        chapter.Add("most-of-the-kernel", Robustness, "253 descriptors with one message are closed", peer => SurplusAsync(peer, VhostUserRequest.GetFeatures, null, VhostUserConnection.MaxDescriptors));
        return chapter;
    }

    private static async Task MissingAsync(BackendPeer peer, VhostUserRequest request)
    {
        HonestMessage message = await HonestMessage.BeforeAsync(peer, request).ConfigureAwait(false);
        await peer.RefusedAsync(request, message.Payload).ConfigureAwait(false);
    }

    /// <summary>The peer may refuse the message or carry it out; what it may not is keep the descriptors beyond the connection.</summary>
    private static async Task SurplusAsync(BackendPeer peer, VhostUserRequest request, MessageContract? contract, int surplus)
    {
        HonestMessage message = await HonestMessage.BeforeAsync(peer, request).ConfigureAwait(false);
        DescriptorWatch watch = peer.Own(new DescriptorWatch());
        int own = contract?.MaxDescriptors > message.Descriptors.Length ? contract.MaxDescriptors - message.Descriptors.Length : 0;
        SafeHandle[] descriptors = [.. message.Descriptors, .. watch.Give(own + surplus)];
        Answer answer = await peer.SayAsync(request, message.Payload, descriptors).ConfigureAwait(false);
        peer.Tolerated((uint)request, answer);
        await ExpectClosedAsync(peer, watch).ConfigureAwait(false);
    }

    private static async Task ToleratedWithoutAsync(BackendPeer peer, VhostUserRequest request)
    {
        await peer.BeginAsync().ConfigureAwait(false);
        await peer.ToleratedAsync(request, BackendPeer.RingWord(0)).ConfigureAwait(false);
    }

    private static async Task ClosedAtTheEndAsync(BackendPeer peer, VhostUserRequest request)
    {
        await peer.BeginAsync().ConfigureAwait(false);
        DescriptorWatch watch = peer.Own(new DescriptorWatch());
        await peer.ToleratedAsync(request, BackendPeer.RingWord(0), watch.Give(1)).ConfigureAwait(false);
        await ExpectClosedAsync(peer, watch).ConfigureAwait(false);
    }

    private static async Task ReplacedAsync(BackendPeer peer)
    {
        await peer.BeginAsync().ConfigureAwait(false);
        DescriptorWatch watch = peer.Own(new DescriptorWatch());
        EventNotifier call = peer.Own(new EventNotifier());
        await peer.ToleratedAsync(VhostUserRequest.SetVringCall, BackendPeer.RingWord(0), watch.Give(1)).ConfigureAwait(false);
        if (peer.Refusal is not null)
            return;
        await peer.AcceptedAsync(VhostUserRequest.SetVringCall, BackendPeer.RingWord(0), call.Descriptor).ConfigureAwait(false);
        Expect.That(await watch.AreClosedAsync(ShareOfClosing * peer.Patience).ConfigureAwait(false), "the peer closes the descriptor that was replaced", "it keeps it open");
    }

    private static async Task OddAsync(BackendPeer peer, VhostUserRequest request, byte[] payload, Func<SafeFileHandle> open)
    {
        await peer.BeginAsync().ConfigureAwait(false);
        _ = await peer.SayAsync(request, payload, peer.Own(open())).ConfigureAwait(false); // whether it ends before or after its next answer is chance
    }

    private static async Task OddMemoryAsync(BackendPeer peer, Func<SafeFileHandle> open)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        await peer.RefusedAsync(VhostUserRequest.SetMemTable, peer.Memory.Table, peer.Own(open())).ConfigureAwait(false);
    }

    private static async Task ExpectClosedAsync(BackendPeer peer, DescriptorWatch watch)
    {
        await peer.CloseAsync().ConfigureAwait(false);
        BackendPeer next = await peer.ConnectAnotherAsync().ConfigureAwait(false);
        await next.NegotiateAsync().ConfigureAwait(false);
        await next.BarrierAsync().ConfigureAwait(false);
        Expect.That(await watch.AreClosedAsync(ShareOfClosing * peer.Patience).ConfigureAwait(false), "the peer holds none of the descriptors once the connection has ended", "it keeps one open");
    }
}
