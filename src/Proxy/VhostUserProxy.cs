using Vhost.Protocol;

namespace Vhost.Proxy;

/// <summary>
/// Stands between front-ends and back-ends: hands on what either says, byte for byte and with its descriptors, whatever it is, and shows it. The back-end channel and that of a GPU's displays go through it too. It
/// sees messages, not the guest: rings and memory are shared by the peers alone.
/// </summary>
/// <remarks>Threading: sessions may run beside each other; all members may be used from any thread.</remarks>
/// <param name="options">What it does beside that; null: nothing.</param>
public sealed class VhostUserProxy(VhostUserProxyOptions? options = null)
{
    private readonly long _began = (options?.TimeProvider ?? TimeProvider.System).GetTimestamp();
    private long _number;
    private int _sessions;

    /// <summary>What it does beside handing messages on.</summary>
    public VhostUserProxyOptions Options { get; } = options ?? new VhostUserProxyOptions();

    internal TimeSpan Elapsed => Options.TimeProvider.GetElapsedTime(_began);

    /// <summary>Stands between two peers until one of them has gone, and then ends the connection with the other.</summary>
    /// <param name="frontEnd">The connection to the front-end. Owned from here on.</param>
    /// <param name="backEnd">The connection to the back-end. Owned from here on.</param>
    /// <param name="cancellationToken">Ends both.</param>
    /// <returns>What came of it.</returns>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public async Task<ProxySummary> RunAsync(VhostUserConnection frontEnd, VhostUserConnection backEnd, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(frontEnd);
        ArgumentNullException.ThrowIfNull(backEnd);
        using ProxySession session = new(this, Interlocked.Increment(ref _sessions), frontEnd, backEnd);
        return await session.RunAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Accepts one peer after the other, connects to the other one for each, and stands between them.</summary>
    /// <param name="listenPath">The socket on which one peer connects; it is made here.</param>
    /// <param name="connectPath">The socket on which the other one listens. It is tried for ten seconds.</param>
    /// <param name="listensFor">Which of them connects: the front-end, as is usual, or the back-end, where that is started as a client.</param>
    /// <param name="ended">Called with what came of each session, before the next one.</param>
    /// <param name="cancellationToken">Ends it.</param>
    /// <returns>Completes when it was cancelled.</returns>
    /// <exception cref="VhostUserException">It cannot listen there; or nobody listens at the other place, and that was so when the first one came.</exception>
    public async Task ServeAsync(string listenPath, string connectPath, ProxySide listensFor, Action<ProxySummary> ended, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(ended);
        VhostUserListenOptions listen = new() { Connection = Options.Connection(TimeSpan.Zero) };
        VhostUserListener listener = VhostUserListener.Listen(listenPath, listen);
        await using (listener.ConfigureAwait(false))
        {
            while (true)
            {
                VhostUserConnection here = await listener.AcceptAsync(cancellationToken).ConfigureAwait(false);
                VhostUserConnection there = await ConnectAsync(connectPath, here, cancellationToken).ConfigureAwait(false);
                ended(await (listensFor == ProxySide.FrontEnd ? RunAsync(here, there, cancellationToken) : RunAsync(there, here, cancellationToken)).ConfigureAwait(false));
            }
        }
    }

    /// <summary>Connects to the other peer; the one that is there is not kept waiting when that fails.</summary>
    private async ValueTask<VhostUserConnection> ConnectAsync(string path, VhostUserConnection here, CancellationToken cancellationToken)
    {
        try
        {
            return await VhostUserConnection.ConnectAsync(path, Options.Connection(TimeSpan.FromSeconds(10)), cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            await here.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    internal long NextNumber() => Interlocked.Increment(ref _number);
}
