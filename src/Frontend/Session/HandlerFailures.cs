using Microsoft.Extensions.Logging;

namespace Vhost.Frontend;

/// <summary>Logs what a handler of the user throws, at the 1st, 2nd, 4th, 8th … time: the back-end decides how often it is called. Any thread.</summary>
internal sealed class HandlerFailures(ILogger log)
{
    private long _count;

    public void Log(Exception failure, string request)
    {
        long count = Interlocked.Increment(ref _count);
        if (long.IsPow2(count))
            FrontendLog.HandlerFailed(log, failure, request, count);
    }
}
