using System.Diagnostics;
using Vhost.Frontend;

namespace Vhost.Bench.Control;

/// <summary>How long a request and its reply take, on a session that does nothing else.</summary>
internal static class MessageTimes
{
    internal static async Task<string> MeasureAsync(string socket, TimeSpan interval)
    {
        await using VhostUserFrontend frontend = await VhostUserFrontend.ConnectAsync(socket);
        return await Samples.MedianAsync(interval, async () =>
        {
            long started = Stopwatch.GetTimestamp();
            await frontend.Requests.GetFeaturesAsync();
            return Stopwatch.GetTimestamp() - started;
        });
    }
}
