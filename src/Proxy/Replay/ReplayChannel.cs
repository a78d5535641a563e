using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Proxy;

/// <summary>A front-end's end of back-end channels, on which every request is acknowledged.</summary>
internal sealed class ReplayChannel : IAsyncDisposable
{
    private readonly List<VhostUserConnection> _connections = [];
    private readonly List<Task> _answering = [];

    /// <summary>Answers on one more; the socket is owned from here on.</summary>
    internal void Answer(SafeFileHandle socket)
    {
        VhostUserConnection connection = VhostUserConnection.Adopt(socket);
        _connections.Add(connection);
        _answering.Add(AnswerAllAsync(connection));
    }

    public async ValueTask DisposeAsync()
    {
        foreach (VhostUserConnection connection in _connections)
            await connection.DisposeAsync().ConfigureAwait(false);
        await Task.WhenAll(_answering).ConfigureAwait(false);
    }

    private static async Task AnswerAllAsync(VhostUserConnection connection)
    {
        byte[] done = new byte[VhostUserU64.Size];
        try
        {
            while (await connection.ReceiveAsync().ConfigureAwait(false) is { } request)
            {
                using (request)
                {
                    if (request.Header.NeedsReply)
                        await connection.SendAsync(request.Header.AsReply(done.Length), done).ConfigureAwait(false);
                }
            }
        }
        catch (Exception e) when (e is VhostUserException or ObjectDisposedException)
        {
            // The back-end has closed it, or the replay is over.
        }
    }
}
