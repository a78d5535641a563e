using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <content>Connections, what devices are told, and noise.</content>
internal static partial class HostileControlChapter
{
    private static void AddStreams(Chapter chapter)
    {
        AddDeviceWords(chapter);
        chapter.Add("b36-silent", Robustness, "B36: Twenty front-ends that say nothing, each connecting before the last one leaves, are borne", SilentAsync);
        chapter.Add("b36-flicker", Robustness, "B36: A hundred front-ends that connect and leave at once are borne", FlickerAsync);
        chapter.Add("b36-second", Robustness, "B36: A second front-end does not disturb the first", SecondAsync, CaseNeeds.Working);
        chapter.Add("b37-unread", Robustness, "B37: A thousand questions whose answers are read late are all answered, or the connection ended", UnreadAsync);
        chapter.Add("b37-unread-left", Robustness, "B37: A front-end that leaves before it reads a thousand answers is borne", UnreadLeftAsync);
        for (int i = 0; i < 5; i++)
        {
            int seed = i;
            chapter.Add($"b39-bytes-{i}", Robustness, "B39: Random bytes do not harm the back-end", peer => BytesAsync(peer, seed));
            chapter.Add($"b39-messages-{i}", Robustness, "B39: Random messages do not harm the back-end", peer => MessagesAsync(peer, seed));
        }
    }

    private static void AddDeviceWords(Chapter chapter)
    {
        foreach (ulong address in (ulong[])[0, ulong.MaxValue])
        {
            chapter.Add(
                $"b35-rarp-{address:x}", Robustness, $"B35: SEND_RARP for 0x{address:x} is borne or refused", peer => SayTwoAsync(peer, VhostUserRequest.SendRarp, address),
                new() { Protocol = VhostUserProtocolFeatures.Rarp }, "vhost-user: VHOST_USER_SEND_RARP");
        }

        foreach (ulong size in (ulong[])[0, 67, 65_536, ulong.MaxValue])
        {
            chapter.Add(
                $"b35-mtu-{size}", Robustness, $"B35: NET_SET_MTU of {size} is borne or refused", peer => SayTwoAsync(peer, VhostUserRequest.NetSetMtu, size),
                new() { Protocol = VhostUserProtocolFeatures.NetMtu, Features = (VirtioFeatures)(1UL << 3) }, "vhost-user: VHOST_USER_NET_SET_MTU");
        }

        CaseNeeds crypto = new() { Protocol = VhostUserProtocolFeatures.CryptoSession };
        foreach (int size in (int[])[632, 1072])
            chapter.Add($"b35-crypto-{size}", Robustness, $"B35: A crypto session of {size} bytes with giant key lengths is refused or borne", peer => CryptoAsync(peer, size), crypto, "vhost-user: VHOST_USER_CREATE_CRYPTO_SESSION");
        chapter.Add("b35-crypto-close", Robustness, "B35: A crypto session that nobody opened is closed or refused", static peer => SayTwoAsync(peer, VhostUserRequest.CloseCryptoSession, 0x7777_7777_7777), crypto, "vhost-user: VHOST_USER_CLOSE_CRYPTO_SESSION");
        chapter.Add("b35-reset-working", Robustness, "B35: RESET_DEVICE while requests are under way is carried out", ResetWorkingAsync, CaseNeeds.Working with { Protocol = VhostUserProtocolFeatures.ResetDevice }, "vhost-user: VHOST_USER_RESET_DEVICE");
    }

    private static async Task SayTwoAsync(BackendPeer peer, VhostUserRequest request, ulong value)
    {
        await peer.BeginAsync().ConfigureAwait(false);
        await peer.ToleratedAsync(request, BackendPeer.U64(value)).ConfigureAwait(false);
    }

    private static async Task CryptoAsync(BackendPeer peer, int size)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        byte[] session = new byte[size];
        session.AsSpan().Fill(0xff);
        Answer answer = await peer.SayAsync(VhostUserRequest.CreateCryptoSession, session).ConfigureAwait(false);
        peer.Tolerated((uint)VhostUserRequest.CreateCryptoSession, answer);
    }

    private static async Task ResetWorkingAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        for (int i = 0; i < 4; i++)
            ring.Offer(peer.Device.NewWork(peer.Memory).Chain);
        ring.Notify();
        await peer.ResetDeviceAsync().ConfigureAwait(false);
        await peer.BarrierAsync().ConfigureAwait(false);
    }

    private static async Task SilentAsync(BackendPeer peer)
    {
        BackendPeer last = peer;
        for (int i = 0; i < 20; i++) // two at a time: many back-ends serve one after the other, and let few wait
        {
            BackendPeer next = await peer.ConnectAnotherAsync().ConfigureAwait(false);
            await last.CloseAsync().ConfigureAwait(false);
            last = next;
        }
    }

    private static async Task FlickerAsync(BackendPeer peer)
    {
        await peer.CloseAsync().ConfigureAwait(false);
        for (int i = 0; i < 100; i++)
        {
            BackendPeer next = await peer.ConnectAnotherAsync().ConfigureAwait(false);
            await next.CloseAsync().ConfigureAwait(false);
        }
    }

    private static async Task SecondAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        BackendPeer second = await peer.ConnectAnotherAsync().ConfigureAwait(false);
        await second.SendAsync(VhostUserRequest.SetOwner).ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await second.CloseAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await peer.BarrierAsync().ConfigureAwait(false);
    }

    private static byte[] Questions() => [.. Enumerable.Repeat(Message(VhostUserRequest.GetFeatures, []), 1000).SelectMany(static bytes => bytes)];

    private static async Task UnreadAsync(BackendPeer peer)
    {
        await peer.Main.SendRawAsync(Questions(), "GET_FEATURES a thousand times").ConfigureAwait(false);
        for (int i = 0; i < 1000; i++)
        {
            using ReceivedMessage? reply = await peer.Main.TryReceiveAsync("a reply to GET_FEATURES").ConfigureAwait(false);
            if (reply is not null)
                continue;
            peer.NoteRefusal("the connection was ended");
            return;
        }
    }

    private static async Task UnreadLeftAsync(BackendPeer peer)
    {
        await peer.Main.SendRawAsync(Questions(), "GET_FEATURES a thousand times").ConfigureAwait(false);
        await Task.Delay(peer.Quiet).ConfigureAwait(false);
        await peer.CloseAsync().ConfigureAwait(false);
    }

    private static async Task BytesAsync(BackendPeer peer, int seed)
    {
        byte[] bytes = new byte[4096];
        Noise(peer, seed).NextBytes(bytes);
        await peer.Main.SendRawAsync(bytes, "random bytes").ConfigureAwait(false);
        await peer.CloseAsync().ConfigureAwait(false);
    }

    private static async Task MessagesAsync(BackendPeer peer, int seed)
    {
        Random random = Noise(peer, seed);
        await peer.BeginAsync().ConfigureAwait(false);
        for (int i = 0; i < 50; i++)
        {
            byte[] payload = new byte[random.Next(0, 64)];
            random.NextBytes(payload);
            await peer.Main.SendAsync((uint)random.Next(1, 46), BackendPeer.Plain, payload).ConfigureAwait(false);
        }

        await peer.CloseAsync().ConfigureAwait(false);
    }

    private static Random Noise(BackendPeer peer, int seed) => new(HashCode(peer.Random.Next(), seed));

    private static int HashCode(int first, int second) => unchecked((first * 31) + second);
}
