using System.Threading.Channels;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// Misses whose acknowledgement nobody awaits. They are answered one after the other by a task of its own: an answer goes out on the main channel and may have to wait for the back-end there, which may itself need
/// an answer on its own channel before it can go on.
/// </summary>
/// <remarks>Threading: <see cref="AddAsync"/> by one thread at a time. A miss that is said again while it waits is the same one.</remarks>
internal sealed class MissQueue : IAsyncDisposable
{
    /// <summary>More different misses than a back-end of ours has at a time, 64 for each of 256 queues; whoever says more is listened to when there is room.</summary>
    private const int Most = 1 << 15;

    private readonly Channel<VhostUserIotlb> _waiting = Channel.CreateBounded<VhostUserIotlb>(new BoundedChannelOptions(Most) { SingleReader = true, SingleWriter = true });
    private readonly HashSet<VhostUserIotlb> _said = [];
    private readonly Func<VhostUserIotlb, CancellationToken, ValueTask> _answer;
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _loop;

    /// <param name="answer">Answers one. It must not throw but when it is cancelled.</param>
    internal MissQueue(Func<VhostUserIotlb, CancellationToken, ValueTask> answer)
    {
        _answer = answer;
        _loop = Task.Run(RunAsync, CancellationToken.None);
    }

    /// <summary>Has a miss answered soon.</summary>
    /// <param name="miss">The miss.</param>
    /// <param name="cancellationToken">Ends the wait for room.</param>
    internal ValueTask AddAsync(VhostUserIotlb miss, CancellationToken cancellationToken)
    {
        lock (_said)
        {
            if (!_said.Add(miss))
                return ValueTask.CompletedTask;
        }

        return _waiting.Writer.WriteAsync(miss, cancellationToken);
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        await BoundedWait.ForAsync(_loop).ConfigureAwait(false);
    }

    private async Task RunAsync()
    {
        try
        {
            await foreach (VhostUserIotlb miss in _waiting.Reader.ReadAllAsync(_stop.Token).ConfigureAwait(false))
            {
                // Before it is answered: said again from now on, it may be because the answer is not good any more.
                lock (_said)
                    _said.Remove(miss);
                await _answer(miss, _stop.Token).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException) when (_stop.IsCancellationRequested)
        {
            // The session has ended.
        }
    }
}
