using System.Diagnostics;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.External;

/// <summary>
/// Sends over every pair of queues what a peer sends back, on one thread. When there is nothing to do it gives its processor away, since the peer may need it.
/// </summary>
internal sealed class EchoTraffic
{
    /// <summary>How long no packet at all may pass before a run that is to finish is given up.</summary>
    private static readonly TimeSpan _longestSilence = TimeSpan.FromSeconds(10);

    private readonly EchoPlan _plan;
    private readonly EchoLane[] _lanes;
    private readonly TaskCompletionSource _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private TaskCompletionSource<int>? _giveUp;
    private volatile bool _ending;

    private EchoTraffic(EchoPort[] ports, EchoPlan plan)
    {
        _plan = plan;
        _lanes = [.. ports.Select((port, queue) => new EchoLane(port, plan, queue, (plan.Packets ?? long.MaxValue) / ports.Length))];
    }

    /// <summary>Ends when all packets are back; faulted when one was lost, changed or repeated.</summary>
    internal Task Completion => _completion.Task;

    internal long Sent => _lanes.Sum(lane => lane.Sent);

    internal long Returned => _lanes.Sum(lane => lane.Returned);

    internal long ReturnedBytes => _lanes.Sum(lane => lane.ReturnedBytes);

    private string Figures => string.Join("; ", _lanes.Select(lane => lane.Figures));

    internal static EchoTraffic Start(EchoPort[] ports, EchoPlan plan)
    {
        EchoTraffic traffic = new(ports, plan);
        new Thread(traffic.Run) { IsBackground = true, Name = "echo" }.Start();
        return traffic;
    }

    /// <summary>Waits until so many more packets are back.</summary>
    internal async Task MoreAsync(long packets)
    {
        long wanted = Returned + packets;
        long started = Stopwatch.GetTimestamp();
        while (Returned < wanted)
        {
            if (Completion.IsCompleted)
                await Completion;
            if (Stopwatch.GetElapsedTime(started) > _longestSilence)
                throw new TimeoutException($"{packets} more packets never came. {Figures}");
            await Task.Delay(1);
        }
    }

    /// <summary>Waits no longer for what is under way.</summary>
    /// <returns>How many packets those are.</returns>
    internal Task<int> GiveUpAsync()
    {
        TaskCompletionSource<int> giveUp = new(TaskCreationOptions.RunContinuationsAsynchronously);
        Volatile.Write(ref _giveUp, giveUp);
        return giveUp.Task.InTime();
    }

    /// <summary>Ends traffic that has no end of its own.</summary>
    internal Task EndAsync()
    {
        _ending = true;
        return Completion.InTime();
    }

    private void Run()
    {
        try
        {
            long active = Stopwatch.GetTimestamp();
            while (!_ending && !Array.TrueForAll(_lanes, lane => lane.IsDone))
            {
                Interlocked.Exchange(ref _giveUp, null)?.SetResult(_lanes.Sum(lane => lane.GiveUp()));
                if (Step())
                    active = Stopwatch.GetTimestamp();
                else if (_plan.Packets is not null && Stopwatch.GetElapsedTime(active) > _longestSilence)
                    throw new TimeoutException("Nothing moves any more. " + Figures);
                else
                    Thread.Yield();
            }

            _completion.SetResult();
        }
        catch (Exception failure)
        {
            _completion.SetException(failure);
        }
    }

    private bool Step()
    {
        bool moved = false;
        foreach (EchoLane lane in _lanes)
            moved |= lane.Step();
        return moved;
    }
}
