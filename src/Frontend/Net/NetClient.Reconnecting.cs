using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// Goes on with the next back-end when one is lost: with the same queues and the same memory, on rings that are made anew. Threads that poll or wait need not know; what they find meanwhile is an empty
/// network without room.
/// </summary>
public sealed partial class NetClient : ISuccessionClient
{
    /// <summary>
    /// Raised when the back-end was lost and the next one is being looked for (<see cref="NetClientOptions.Reconnect"/>). Until that is there nothing can be sent; packets that had come can still be
    /// collected, and those that are lent stay.
    /// </summary>
    public event EventHandler? ConnectionLost;

    /// <summary>Raised when the next back-end serves the device.</summary>
    public event EventHandler? Reconnected;

    /// <summary>How many back-ends have taken over from another one.</summary>
    public int Reconnections => _sessions.Count;

    bool ISuccessionClient.CanGoOn => _sessions.HasNext;

    void ISuccessionClient.Suspend(VhostUserFrontend lost)
    {
        foreach (NetSender sender in _senders)
            sender.Desert();
        Control?.Suspend();
        ConnectionLost?.Invoke(this, EventArgs.Empty); // one that throws ends the client
    }

    async ValueTask ISuccessionClient.StartOverAsync(VhostUserFrontend next, GuestMemory memory, CancellationToken stop)
    {
        DeviceConfig? config = await ReadConfigAsync(next, stop).ConfigureAwait(false);
        RequireQueues(next, config?.Value);
        await SetMtuAsync(next, stop).ConfigureAwait(false);
        await next.SetMemoryAsync(memory, stop).ConfigureAwait(false);
        foreach (NetClientQueue queue in Queues())
        {
            if (await queue.RemakeAsync(stop).ConfigureAwait(false) is > 0 and int lost)
                FrontendLog.PacketsLost(_log, queue.Index, lost);
        }

        await next.StartVringsAsync(_rings, stop).ConfigureAwait(false);
        if (Control is { } control)
        {
            bool differs = HasMac && config is not null && config.Value.Mac != Mac && (Features & VirtioNetFeatures.ControlMacAddress) != 0;
            await WhileAliveAsync(next, token => control.RestoreAsync(differs ? Mac : null, token), stop).ConfigureAwait(false);
        }

        Volatile.Write(ref _config, config);
    }

    void ISuccessionClient.Resume()
    {
        foreach (NetClientQueue queue in Queues())
            queue.Reopen();
        Control?.Resume();
        Reconnected?.Invoke(this, EventArgs.Empty);
    }

    void ISuccessionClient.Fail(Exception reason)
    {
        FailQueues(reason);
        if (_completion.TrySetException(reason))
            _ = _completion.Task.Exception; // seen: nobody needs to await it
    }

    /// <summary>The queues stay where they are, so the next device must have them.</summary>
    private void RequireQueues(VhostUserFrontend next, VirtioNetConfig? config)
    {
        int pairs = _senders.Count;
        if (next.QueueCount < 2 * pairs)
        {
            throw new VhostUserException(string.Create(
                CultureInfo.InvariantCulture, $"The back-end serves {next.QueueCount} queues; {2 * pairs} are in use since the session that it replaces was made."));
        }

        if (ControlIndex(next, config, pairs) is { } index && index != Control?.Index)
        {
            throw new VhostUserException(string.Create(
                CultureInfo.InvariantCulture, $"The back-end's control queue is queue {index}; it was queue {Control?.Index} when the session that it replaces was made."));
        }
    }

    /// <summary>Waits for the device to answer as long as its session lives.</summary>
    private static async ValueTask WhileAliveAsync(VhostUserFrontend session, Func<CancellationToken, ValueTask> ask, CancellationToken cancellationToken)
    {
        using CancellationTokenSource end = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task asking = ask(end.Token).AsTask();
        if (await Task.WhenAny(asking, session.Completion).ConfigureAwait(false) != asking)
        {
            await end.CancelAsync().ConfigureAwait(false);
            await asking.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            if (!asking.IsCompletedSuccessfully)
                await session.Completion.ConfigureAwait(false);
        }

        await asking.ConfigureAwait(false);
    }
}
