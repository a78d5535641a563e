using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>Hears from one userfaultfd who waits for which page, without a thread.</summary>
internal sealed class FaultListener : IAsyncDisposable
{
    /// <summary>How often in a row the descriptor may be readable with nothing to read; more often, and its owner keeps us busy.</summary>
    private const int MostEmptyReads = 64;

    private readonly UserFaults _faults;
    private readonly Action<ulong> _faulted;
    private readonly Action<Exception> _failed;
    private readonly ReactorRegistration _registration;
    private readonly Task _loop;

    /// <param name="faults">Stays the caller's.</param>
    /// <param name="faulted">Called with the address of each fault; throws what ends the listening.</param>
    /// <param name="failed">Called once when listening ends for any reason but disposal.</param>
    public FaultListener(UserFaults faults, Action<ulong> faulted, Action<Exception> failed)
    {
        (_faults, _faulted, _failed) = (faults, faulted, failed);
        _registration = Reactor.Shared.Register(faults.Descriptor);
        _loop = Task.Run(ListenAsync);
    }

    public async ValueTask DisposeAsync()
    {
        _registration.Dispose();
        await BoundedWait.ForAsync(_loop).ConfigureAwait(false); // a read may wait for ever (UserFaults.MayWait)
    }

    private async Task ListenAsync()
    {
        try
        {
            for (int empty = 0; empty <= MostEmptyReads; empty = await ReadAllAsync().ConfigureAwait(false) ? 0 : empty + 1)
                await _registration.ReadableAsync(CancellationToken.None).ConfigureAwait(false);
            throw new VhostUserProtocolException(VhostUserViolation.BadDescriptor, "the userfaultfd is readable again and again, with nothing to read");
        }
        catch (ObjectDisposedException)
        {
            // The end that is meant.
        }
        catch (Exception e)
        {
            _failed(e);
        }
    }

    /// <returns>Whether there was a fault.</returns>
    private ValueTask<bool> ReadAllAsync() => _faults.MayWait
        ? new ValueTask<bool>(Task.Factory.StartNew(ReadAll, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default))
        : ValueTask.FromResult(ReadAll());

    private bool ReadAll()
    {
        Span<ulong> addresses = stackalloc ulong[16];
        int count = _faults.Read(addresses);
        foreach (ulong address in addresses[..count])
            _faulted(address);
        return count > 0;
    }
}
