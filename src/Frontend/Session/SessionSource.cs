using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>Where the sessions of a client come from: the first one, and when that is lost the next.</summary>
internal sealed class SessionSource
{
    private readonly Func<VhostUserFrontendOptions, CancellationToken, ValueTask<VhostUserFrontend>> _open;

    /// <summary>The only connection there is, until somebody owns it.</summary>
    private readonly VhostUserConnection? _connection;

    private SessionSource(Func<VhostUserFrontendOptions, CancellationToken, ValueTask<VhostUserFrontend>> open, VhostUserConnection? connection = null) =>
        (_open, _connection) = (open, connection);

    /// <summary>Whether there is a way to another session when one is lost.</summary>
    internal bool HasNext => _connection is null;

    /// <summary>Back-ends that listen.</summary>
    internal static SessionSource Connecting(string socketPath) => new((options, cancellationToken) => VhostUserFrontend.ConnectAsync(socketPath, options, cancellationToken));

    /// <summary>Back-ends that connect to us.</summary>
    internal static SessionSource Accepting(VhostUserListener listener) => new((options, cancellationToken) => VhostUserFrontend.AcceptAsync(listener, options, cancellationToken));

    /// <summary>A connection made elsewhere, of which there is no other. It is owned from here on.</summary>
    internal static SessionSource Only(VhostUserConnection connection) =>
        new((options, cancellationToken) => VhostUserFrontend.StartAsync(connection, options, cancellationToken), connection);

    /// <summary>Starts a client over the first session: all kinds of clients start like this.</summary>
    /// <param name="validate">Throws when the client's options cannot be.</param>
    /// <param name="options">What the client wants of a session.</param>
    /// <param name="make">Makes the client, which owns the session from then on.</param>
    /// <param name="start">Starts the client; one that fails is disposed.</param>
    /// <param name="cancellationToken">Gives up.</param>
    internal async ValueTask<TClient> StartAsync<TClient>(
        Action validate, Func<VhostUserFrontendOptions> options, Func<VhostUserFrontend, TClient> make, Func<TClient, ValueTask> start, CancellationToken cancellationToken)
        where TClient : IAsyncDisposable
    {
        try
        {
            validate();
        }
        catch
        {
            if (_connection is not null)
                await _connection.DisposeAsync().ConfigureAwait(false);
            throw;
        }

        TClient client = make(await OpenAsync(options(), cancellationToken).ConfigureAwait(false));
        try
        {
            await start(client).ConfigureAwait(false);
            return client;
        }
        catch
        {
            await client.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    internal ValueTask<VhostUserFrontend> OpenAsync(VhostUserFrontendOptions options, CancellationToken cancellationToken) => _open(options, cancellationToken);
}
