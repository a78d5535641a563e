using Vhost.Protocol;

namespace Vhost.Conformance.Tests;

/// <summary>
/// A small vhost-user front-end, written by hand and by the specification alone: the driver of a block device that reads one block after the other. It connects to a socket again and again until it
/// is disposed. Without a sin it is right; with one it departs from one rule, on purpose, so that a suite can be measured by what it finds.
/// </summary>
public sealed class HandFrontend : IAsyncDisposable
{
    private static readonly TimeSpan _pause = TimeSpan.FromMilliseconds(2);

    private readonly CancellationTokenSource _stop = new();
    private readonly string _socketPath;
    private readonly FrontendSin _sin;
    private readonly Task _running;

    /// <summary>Begins to connect at once.</summary>
    /// <param name="socketPath">Where the back-end listens, sooner or later.</param>
    /// <param name="sin">The one departure.</param>
    public HandFrontend(string socketPath, FrontendSin sin = FrontendSin.None)
    {
        (_socketPath, _sin) = (socketPath, sin);
        _running = Task.Run(RunAsync);
    }

    /// <summary>What nothing a peer does should have made; null if this front-end is right.</summary>
    public Exception? Surprise { get; private set; }

    /// <summary>Whether it connects no more: it was ended by its sin.</summary>
    public bool HasCrashed { get; private set; }

    /// <summary>Blocks that were read.</summary>
    public int Reads { get; private set; }

    /// <summary>Ends the connection, within bounded time.</summary>
    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _running;
        _stop.Dispose();
    }

    private async Task RunAsync()
    {
        try
        {
            while (true)
            {
                await ConnectOnceAsync();
                await Task.Delay(_pause, _stop.Token); // one that was turned away does not come back in the same moment
            }
        }
        catch (OperationCanceledException)
        {
        }
        catch (HandCrashException)
        {
            HasCrashed = true;
        }
        catch (Exception unexpected)
        {
            Surprise = unexpected;
        }
    }

    private async Task ConnectOnceAsync()
    {
        VhostUserConnectOptions options = new()
        {
            RetryFor = Timeout.InfiniteTimeSpan,
            RetryDelay = _pause,
            MessageTimeout = _sin == FrontendSin.CannotPutPiecesTogether ? TimeSpan.FromMilliseconds(1) : TimeSpan.FromSeconds(2),
        };
        VhostUserConnection connection = await VhostUserConnection.ConnectAsync(_socketPath, options, _stop.Token);
        await using HandFrontendSession session = new(connection, _sin, _stop.Token);
        try
        {
            await session.RunAsync();
        }
        catch (Exception e) when (e is HandLeavesException or VhostUserException or LinuxException or IOException)
        {
            session.MayCrash(e);
        }
        finally
        {
            Reads += session.Reads;
        }
    }
}
