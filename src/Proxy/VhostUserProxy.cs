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
    private readonly Lock _observerGate = new();
    private readonly long _began = (options?.TimeProvider ?? TimeProvider.System).GetTimestamp();
    private long _number;
    private int _sessions;

    /// <summary>What it does beside handing messages on.</summary>
    public VhostUserProxyOptions Options { get; } = options ?? new VhostUserProxyOptions();

    internal TimeSpan Elapsed => Options.TimeProvider.GetElapsedTime(_began);

    /// <summary>
    /// Stands between two peers until one of them has gone, and then ends the connection with the other, once that has taken what had come for it, however long it needs. A peer that has only ended what it says gets what
    /// the other one says until that ends, too.
    /// </summary>
    /// <param name="frontEnd">The connection to the front-end. Owned from here on.</param>
    /// <param name="backEnd">The connection to the back-end. Owned from here on.</param>
    /// <param name="cancellationToken">Ends both, and with that the session.</param>
    /// <returns>What came of it, also when it was cancelled. An exception is one of <see cref="VhostUserProxyOptions.Observer"/>.</returns>
    public async Task<ProxySummary> RunAsync(VhostUserConnection frontEnd, VhostUserConnection backEnd, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(frontEnd);
        ArgumentNullException.ThrowIfNull(backEnd);
        using ProxySession session = new(this, Interlocked.Increment(ref _sessions), frontEnd, backEnd);
        return await session.RunAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Accepts one peer after the other, connects to the other one for each, and stands between them.</summary>
    /// <param name="listenPath">The socket on which one peer connects; it is made here.</param>
    /// <param name="connectPath">The socket on which the other one listens. It is tried for <see cref="VhostUserProxyOptions.ConnectPatience"/> for each that connects here.</param>
    /// <param name="listensFor">Which of them connects: the front-end, as is usual, or the back-end, where that is started as a client.</param>
    /// <param name="ended">Called with what came of each session, before the next one.</param>
    /// <param name="cancellationToken">Ends it.</param>
    /// <returns>Does not complete but by an exception.</returns>
    /// <exception cref="VhostUserException">It cannot listen there; or the other one cannot be reached for the first that has come. Later ones are let go then, and the next one is accepted.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public async Task ServeAsync(string listenPath, string connectPath, ProxySide listensFor, Action<ProxySummary> ended, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(ended);
        VhostUserListenOptions listen = new() { Connection = Options.Connection(TimeSpan.Zero) };
        VhostUserListener listener = VhostUserListener.Listen(listenPath, listen);
        await using (listener.ConfigureAwait(false))
        {
            for (bool isFirst = true; ; isFirst = false)
            {
                VhostUserConnection here = await listener.AcceptAsync(cancellationToken).ConfigureAwait(false);
                if (await TryConnectAsync(connectPath, here, isFirst, cancellationToken).ConfigureAwait(false) is not { } there)
                    continue;
                ended(await (listensFor == ProxySide.FrontEnd ? RunAsync(here, there, cancellationToken) : RunAsync(there, here, cancellationToken)).ConfigureAwait(false));
            }
        }
    }

    /// <summary>Connects to the other peer; the one that is there is not kept waiting when that fails.</summary>
    /// <returns>Null: it cannot be reached, and <paramref name="here"/> is closed.</returns>
    private async ValueTask<VhostUserConnection?> TryConnectAsync(string path, VhostUserConnection here, bool throws, CancellationToken cancellationToken)
    {
        try
        {
            return await VhostUserConnection.ConnectAsync(path, Options.Connection(Options.ConnectPatience), cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            await here.DisposeAsync().ConfigureAwait(false);
            if (throws || e is not VhostUserException)
                throw;
            return null;
        }
    }

    /// <exception cref="ObserverException">The observer has thrown.</exception>
    internal void Show(ProxyMessage message)
    {
        try
        {
            lock (_observerGate)
                Options.Observer?.Invoke(message);
        }
        catch (Exception e)
        {
            throw new ObserverException(e);
        }
    }

    internal long NextNumber() => Interlocked.Increment(ref _number);
}
