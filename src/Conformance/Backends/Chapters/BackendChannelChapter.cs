using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>The channel for the back-end's own requests.</summary>
internal static class BackendChannelChapter
{
    private static readonly CaseNeeds _needs = CaseNeeds.Working with { Protocol = VhostUserProtocolFeatures.BackendReq };

    public static Chapter Cases { get; } = new("backend-channel", "vhost-user: VHOST_USER_SET_BACKEND_REQ_FD, Back-end communication", _needs)
    {
        { "taken", Must, "A channel is taken and work is done", TakenAsync },
        { "taken-running", Must, "A channel is taken while rings run", TakenRunningAsync },
        { "before-features", Should, "A channel is taken before SET_FEATURES, as QEMU hands it over", BeforeFeaturesAsync },
        { "replaced", Must, "A second channel replaces the first", ReplacedAsync },
        { "replaced-closed", Should, "A channel that is replaced is closed by the back-end", ReplacedClosedAsync },
        { "replaced-often", Must, "The channel is replaced fifty times", ReplacedOftenAsync },
        { "closed", Must, "A channel that the front-end closes does not end the session", ClosedAsync },
        { "closed-replaced", Must, "After a channel was closed another is taken", ClosedReplacedAsync },
        { "ends-with-session", Should, "The channel is closed with the session", EndsAsync },
        { "quiet", Should, "Nothing is said on the channel that was not negotiated", QuietAsync },
        { "quiet-stopped", Must, "Nothing is said on the channel while all rings are stopped", QuietStoppedAsync, null, "vhost-user: Suspended device state" },
        { "not-connected", Robustness, "B31: A channel whose other end is closed already is borne or refused", NotConnectedAsync },
        { "b31-no-socket", Robustness, "B31: A descriptor that is no socket is borne or refused", NoSocketAsync },
        { "b31-memory", Robustness, "B31: A piece of memory for a channel is borne or refused", MemoryAsync },
        { "reply-unasked", Robustness, "A reply that nobody asked for is borne", ReplyUnaskedAsync },
        { "request-from-us", Robustness, "A request on the channel is borne", RequestAsync },
        { "garbage", Robustness, "Garbage on the channel is borne, or the channel or the connection ended", GarbageAsync },
        { "b31-full", Robustness, "B31: A channel that is full of unread bytes towards the back-end does not stop work", FullAsync },
        { "half-message", Robustness, "Half a message on the channel does not stop work", HalfAsync },
    };

    private static async Task TakenAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        _ = await peer.OpenBackendChannelAsync().ConfigureAwait(false);
        await peer.ShareMemoryAsync().ConfigureAwait(false);
        await peer.WorkAsync(await peer.StartRingsAsync().ConfigureAwait(false)).ConfigureAwait(false);
    }

    private static async Task TakenRunningAsync(BackendPeer peer)
    {
        (DriverRing ring, _) = await OpenAsync(peer).ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
    }

    private static async Task BeforeFeaturesAsync(BackendPeer peer)
    {
        await peer.AskU64Async(VhostUserRequest.GetFeatures).ConfigureAwait(false);
        VhostUserProtocolFeatures protocol = VhostUserProtocolFeatures.BackendReq | (VhostUserProtocolFeatures.ReplyAck & peer.Profile.Protocol);
        await peer.SendAsync(VhostUserRequest.SetProtocolFeatures, BackendPeer.U64((ulong)protocol)).ConfigureAwait(false);
        peer.NoteAgreed(VirtioFeatures.VhostUserProtocolFeatures, protocol);
        _ = await peer.OpenBackendChannelAsync().ConfigureAwait(false);
        await peer.ServeOnceAsync().ConfigureAwait(false);
    }

    private static async Task<(DriverRing Ring, Conversation Channel)> OpenAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        Conversation channel = await peer.OpenBackendChannelAsync().ConfigureAwait(false);
        return (ring, channel);
    }

    private static async Task ReplacedAsync(BackendPeer peer)
    {
        (DriverRing ring, _) = await OpenAsync(peer).ConfigureAwait(false);
        _ = await peer.OpenBackendChannelAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
    }

    private static async Task ReplacedClosedAsync(BackendPeer peer)
    {
        (_, Conversation first) = await OpenAsync(peer).ConfigureAwait(false);
        _ = await peer.OpenBackendChannelAsync().ConfigureAwait(false);
        Expect.That(await first.EndsAsync().ConfigureAwait(false), "the channel that was replaced is closed", "it is open");
    }

    private static async Task ReplacedOftenAsync(BackendPeer peer)
    {
        (DriverRing ring, Conversation channel) = await OpenAsync(peer).ConfigureAwait(false);
        for (int i = 0; i < 50; i++)
        {
            await channel.DisposeAsync().ConfigureAwait(false);
            channel = await peer.OpenBackendChannelAsync().ConfigureAwait(false);
        }

        await peer.WorkAsync(ring).ConfigureAwait(false);
    }

    private static async Task ClosedAsync(BackendPeer peer)
    {
        (DriverRing ring, Conversation channel) = await OpenAsync(peer).ConfigureAwait(false);
        await channel.DisposeAsync().ConfigureAwait(false);
        await peer.BarrierAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await peer.BarrierAsync().ConfigureAwait(false);
    }

    private static async Task ClosedReplacedAsync(BackendPeer peer)
    {
        (DriverRing ring, Conversation channel) = await OpenAsync(peer).ConfigureAwait(false);
        await channel.DisposeAsync().ConfigureAwait(false);
        _ = await peer.OpenBackendChannelAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
    }

    private static async Task EndsAsync(BackendPeer peer)
    {
        (_, Conversation channel) = await OpenAsync(peer).ConfigureAwait(false);
        await peer.CloseAsync().ConfigureAwait(false);
        Expect.That(await channel.EndsAsync().ConfigureAwait(false), "the channel is closed", "it is open");
    }

    private static async Task QuietAsync(BackendPeer peer)
    {
        (DriverRing ring, Conversation channel) = await OpenAsync(peer).ConfigureAwait(false);
        for (int i = 0; i < 4; i++)
            await peer.WorkAsync(ring).ConfigureAwait(false);
        await SilentAsync(peer, channel).ConfigureAwait(false);
    }

    private static async Task QuietStoppedAsync(BackendPeer peer)
    {
        (DriverRing ring, Conversation channel) = await OpenAsync(peer).ConfigureAwait(false);
        await peer.StopAllAsync().ConfigureAwait(false);
        ring.Offer(peer.Device.NewWork(peer.Memory).Chain);
        ring.Notify();
        await SilentAsync(peer, channel).ConfigureAwait(false);
    }

    private static async Task SilentAsync(BackendPeer peer, Conversation channel)
    {
        await peer.BarrierAsync().ConfigureAwait(false);
        using CancellationTokenSource quiet = new(peer.Quiet);
        try
        {
            using VhostUserMessage? message = await channel.Connection.ReceiveAsync(quiet.Token).ConfigureAwait(false);
            Expect.That(message is null, "nothing on the channel", $"a message with code {message?.Header.Request}");
        }
        catch (OperationCanceledException)
        {
            // nothing came
        }
    }

    private static async Task NotConnectedAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        (VhostUserConnection ours, Microsoft.Win32.SafeHandles.SafeFileHandle theirs) = VhostUserConnection.CreatePairWithHandle("back-end channel");
        await ours.DisposeAsync().ConfigureAwait(false);
        await peer.ToleratedAsync(VhostUserRequest.SetBackendReqFd, default, peer.Own(theirs)).ConfigureAwait(false);
        await GoesOnAsync(peer, ring).ConfigureAwait(false);
    }

    private static async Task NoSocketAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.ToleratedAsync(VhostUserRequest.SetBackendReqFd, default, ring.Error.Descriptor).ConfigureAwait(false);
        await GoesOnAsync(peer, ring).ConfigureAwait(false);
    }

    private static async Task MemoryAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.ToleratedAsync(VhostUserRequest.SetBackendReqFd, default, peer.Memory.Descriptors[0]).ConfigureAwait(false);
        await GoesOnAsync(peer, ring).ConfigureAwait(false);
    }

    private static async Task ReplyUnaskedAsync(BackendPeer peer)
    {
        (DriverRing ring, Conversation channel) = await OpenAsync(peer).ConfigureAwait(false);
        await channel.SendAsync((uint)VhostUserBackendRequest.ConfigChangeMsg, VhostUserHeaderFlags.Version1 | VhostUserHeaderFlags.Reply, BackendPeer.U64(0)).ConfigureAwait(false);
        await GoesOnAsync(peer, ring).ConfigureAwait(false);
    }

    private static async Task RequestAsync(BackendPeer peer)
    {
        (DriverRing ring, Conversation channel) = await OpenAsync(peer).ConfigureAwait(false);
        await channel.SendAsync((uint)VhostUserBackendRequest.ConfigChangeMsg, BackendPeer.NeedReply, default).ConfigureAwait(false);
        await GoesOnAsync(peer, ring).ConfigureAwait(false);
    }

    private static async Task GarbageAsync(BackendPeer peer)
    {
        (DriverRing ring, Conversation channel) = await OpenAsync(peer).ConfigureAwait(false);
        byte[] garbage = new byte[512];
        peer.Random.NextBytes(garbage);
        await channel.SendRawAsync(garbage, "garbage").ConfigureAwait(false);
        await GoesOnAsync(peer, ring).ConfigureAwait(false);
    }

    private static async Task HalfAsync(BackendPeer peer)
    {
        (DriverRing ring, Conversation channel) = await OpenAsync(peer).ConfigureAwait(false);
        await channel.SendRawAsync(new byte[] { 2, 0, 0, 0, 5, 0 }, "half a header").ConfigureAwait(false);
        await GoesOnAsync(peer, ring).ConfigureAwait(false);
    }

    private static async Task FullAsync(BackendPeer peer)
    {
        (DriverRing ring, Conversation channel) = await OpenAsync(peer).ConfigureAwait(false);
        byte[] reply = [2, 0, 0, 0, 5, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        byte[] many = [.. Enumerable.Repeat(reply, 1024).SelectMany(static bytes => bytes)];
        await channel.SendRawAsync(many, "a thousand replies").ConfigureAwait(false);
        await GoesOnAsync(peer, ring).ConfigureAwait(false);
    }

    private static async Task GoesOnAsync(BackendPeer peer, DriverRing ring)
    {
        if (await peer.GoesOnAsync().ConfigureAwait(false))
            await peer.WorkAsync(ring).ConfigureAwait(false);
    }
}
