namespace Vhost.Frontend;

#pragma warning disable CA1001 // The semaphore's wait handle is never asked for, so there is nothing to dispose; a late caller must find it working.

/// <summary>Lets one operation of several messages run at a time, so that two callers cannot interleave their messages.</summary>
internal sealed class OperationGate
{
    private readonly SemaphoreSlim _semaphore = new(1, 1);

    /// <summary>Waits for one's turn; cancelling the wait costs nothing.</summary>
    public async ValueTask<Pass> EnterAsync(CancellationToken cancellationToken)
    {
        await _semaphore.WaitAsync(cancellationToken).ConfigureAwait(false);
        return new Pass(_semaphore);
    }

    internal readonly struct Pass(SemaphoreSlim semaphore) : IDisposable
    {
        public void Dispose() => semaphore.Release();
    }
}
