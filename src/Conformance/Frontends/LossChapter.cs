using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>Back-ends that die, at each step of the way up and after it (F16).</summary>
internal static class LossChapter
{
    private const int Steps = 16;

    public static FrontendChapter Cases { get; } = Create();

    private static FrontendChapter Create()
    {
        FrontendChapter chapter = new("loss", "vhost-user: Communication, Reconnection");
        for (int step = 1; step <= Steps; step++)
        {
            int last = step;
            chapter.Add($"f16-after-{last}", Robustness, $"A back-end that dies before it answers message {last} does no harm", peer => DyingAsync(peer, last));
        }

        chapter.Add("f16-running", Robustness, "A back-end that dies while its rings run does no harm", RunningAsync);
        chapter.Add("f16-half-reply", Robustness, "A back-end that dies within a reply does no harm", HalfReplyAsync);
        chapter.Add("f16-in-flight", Robustness, "A back-end that dies with a request does no harm", InFlightAsync);
        chapter.Add("f16-silent", Robustness, "A back-end that falls silent does no harm", SilentAsync);
        return chapter;
    }

    private static async Task DyingAsync(FrontendPeer peer, int last)
    {
        int said = 0;
        peer.Script.Instead = async (_, _) =>
        {
            if (++said < last)
                return false;
            peer.Note("the suite ends the connection");
            await peer.Main.DisposeAsync().ConfigureAwait(false);
            return true;
        };
        peer.Play();
        await peer.HoldsAsync(() => peer.HasLeft || peer.Served > 0).ConfigureAwait(false);
        await peer.HoldsAsync(() => peer.HasLeft, 10 * peer.Patience.Quiet).ConfigureAwait(false);
        if (said < last)
            throw Expect.Skipped($"the front-end says {said} messages only");
    }

    private static async Task HalfReplyAsync(FrontendPeer peer)
    {
        peer.Script.On(VhostUserRequest.GetFeatures, static async (peer, message) =>
        {
            byte[] header = new byte[VhostUserHeader.EncodedSize];
            message.Header.AsReply(VhostUserU64.Size).Write(header);
            await peer.Main.SendRawAsync(header.AsMemory(0, header.Length / 2), "half of a header").ConfigureAwait(false);
            peer.Note("the suite ends the connection");
            await peer.Main.DisposeAsync().ConfigureAwait(false);
        });
        peer.Play();
        await peer.HoldsAsync(() => peer.HasLeft).ConfigureAwait(false);
    }

    private static async Task InFlightAsync(FrontendPeer peer)
    {
        peer.Script.ServesRings = false;
        peer.Play();
        await peer.UntilAsync(() => peer.WithRing(static ring => ring.TryTake() is not null), "a ring is started, and a request in it").ConfigureAwait(false);
        peer.Note("the suite ends the connection");
        await peer.Main.DisposeAsync().ConfigureAwait(false);
    }

    private static async Task RunningAsync(FrontendPeer peer)
    {
        await peer.ServedAsync().ConfigureAwait(false);
        peer.Note("the suite ends the connection");
        await peer.Main.DisposeAsync().ConfigureAwait(false);
    }

    private static async Task SilentAsync(FrontendPeer peer)
    {
        bool asked = false;
        peer.Script.On(VhostUserRequest.GetProtocolFeatures, (_, _) =>
        {
            asked = true;
            return Task.CompletedTask;
        });
        peer.Play();
        await peer.HoldsAsync(() => asked).ConfigureAwait(false);
        if (!asked)
            throw Expect.Skipped("the front-end does not ask for protocol features");
        await peer.HoldsAsync(() => peer.HasLeft).ConfigureAwait(false); // a front-end may give up, or wait for longer than the suite does
        if (peer.HasLeft)
            peer.NoteRefusal("the front-end ended the connection");
    }
}
