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
        await peer.HoldsAsync(() => peer.HasLeft).ConfigureAwait(false);
    }

    private static async Task RunningAsync(FrontendPeer peer)
    {
        await peer.ServedAsync().ConfigureAwait(false);
        peer.Note("the suite ends the connection");
        await peer.Main.DisposeAsync().ConfigureAwait(false);
    }

    private static async Task SilentAsync(FrontendPeer peer)
    {
        peer.Script.Instead = static (_, message) => Task.FromResult(message.Header.Request == (uint)VhostUserRequest.GetProtocolFeatures);
        peer.Play();
        await peer.HoldsAsync(() => peer.HasLeft, 10 * peer.Patience.Quiet).ConfigureAwait(false);
    }
}
