using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// The front-ends of a listener in the order in which they are served. After a pause for those that break the rules all that have come meanwhile are let in together, so that a good one behind a backlog full of the others waits
/// for a few pauses and not for one after each of them; those that have left again are dropped.
/// </summary>
/// <param name="listener">Where they connect; stays its owner's.</param>
/// <param name="pace">When there is a pause.</param>
internal sealed class FrontendLine(VhostUserListener listener, AcceptPace pace) : IAsyncDisposable
{
    /// <summary>Let in after one pause.</summary>
    private const int Together = 16;

    /// <summary>More than any backlog: those that have left are dropped faster than others can come and go.</summary>
    private const int MostLooks = 1024;

    private readonly Queue<VhostUserConnection> _letIn = new();

    /// <summary>Whether somebody waits for his turn. Any thread, while one is served.</summary>
    internal bool HasWaiting => _letIn.Count > 0 || listener.HasWaiting;

    /// <summary>The next one.</summary>
    /// <param name="stopping">Ends the wait.</param>
    internal ValueTask<VhostUserConnection> NextAsync(CancellationToken stopping) =>
        _letIn.TryDequeue(out VhostUserConnection? next) ? ValueTask.FromResult(next) : listener.AcceptAsync(stopping);

    /// <summary>The last one broke the rules: takes the pause, if there is to be one.</summary>
    /// <param name="stopping">Ends the pause.</param>
    internal async ValueTask ThrownOutAsync(CancellationToken stopping)
    {
        if (_letIn.Count > 0 || !await pace.PauseAsync(stopping).ConfigureAwait(false))
            return;
        try
        {
            await LetInAsync().ConfigureAwait(false);
        }
        catch (IOException)
        {
            // A shortage: those in the backlog are taken one by one, and what is short is said there.
        }
    }

    private async ValueTask LetInAsync()
    {
        for (int looks = 0; looks < MostLooks && _letIn.Count < Together && listener.TryAccept() is { } connection; looks++)
        {
            if (connection.HasPeerLeft)
                await connection.DisposeAsync().ConfigureAwait(false);
            else
                _letIn.Enqueue(connection);
        }
    }

    public async ValueTask DisposeAsync()
    {
        while (_letIn.TryDequeue(out VhostUserConnection? connection))
            await connection.DisposeAsync().ConfigureAwait(false);
    }
}
