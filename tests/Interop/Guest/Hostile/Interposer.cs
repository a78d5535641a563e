using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Guests;

/// <summary>Listens in the place of a back-end, for QEMU or our own front-end, one session after the other: QEMU comes back a second after it has lost one.</summary>
internal sealed class Interposer : IAsyncDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private readonly VhostUserListener _listener;
    private readonly string _backend;
    private readonly VhostUserProtocolFeatures _hidden;
    private readonly Task _serving;
    private InterposedSession? _session;

    /// <summary>Listens at once.</summary>
    /// <param name="socket">Where QEMU connects.</param>
    /// <param name="backend">The back-end's socket.</param>
    /// <param name="hidden">Protocol features that QEMU does not get to know of.</param>
    internal Interposer(string socket, string backend, VhostUserProtocolFeatures hidden = VhostUserProtocolFeatures.None)
    {
        Socket = socket;
        _backend = backend;
        _hidden = hidden;
        _listener = VhostUserListener.Listen(socket);
        _serving = ServeAsync();
    }

    internal string Socket { get; }

    /// <summary>The session in which the guest's queue is served; waits for one.</summary>
    internal async Task<InterposedSession> SessionAsync()
    {
        InterposedSession? session = null;
        await Eventually.TrueAsync(() => (session = Volatile.Read(ref _session)) is { Serves: true }, "QEMU comes back and starts the queue");
        return session!;
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _serving.WaitAsync(TimeSpan.FromSeconds(60));
        await _listener.DisposeAsync();
        _stop.Dispose();
    }

    private async Task ServeAsync()
    {
        VhostUserConnectOptions patient = new() { RetryFor = TimeSpan.FromSeconds(30), RetryDelay = TimeSpan.FromMilliseconds(10), SendTimeout = TimeSpan.FromSeconds(60) };
        try
        {
            while (true)
            {
                VhostUserConnection frontend = await _listener.AcceptAsync(_stop.Token);
                VhostUserConnection backend = await VhostUserConnection.ConnectAsync(_backend, patient, _stop.Token);
                await using InterposedSession session = new(frontend, backend, _hidden);
                Volatile.Write(ref _session, session);
                await session.Ended.WaitAsync(_stop.Token);
            }
        }
        catch (OperationCanceledException)
        {
            // The test ends.
        }
    }
}
