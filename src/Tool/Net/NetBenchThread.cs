using Vhost.Protocol;

namespace Vhost.Tool;

/// <summary>One thread that serves pairs of queues in turn, bound to a processor if asked.</summary>
internal sealed class NetBenchThread(NetBenchPair[] pairs, int? processor, BenchClock clock)
{
    private readonly TaskCompletionSource _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);

    internal Task Completion => _completion.Task;

    internal void Start() => new Thread(Run) { IsBackground = true, Name = "net bench" }.Start();

    private void Run()
    {
        Exception? failure = null;
        try
        {
            if (processor is { } bound)
                ProcessorBinding.BindThread([bound]);
            Serve();
        }
        catch (VhostUserException) when (pairs.Any(pair => pair.Figures.Packets > 0))
        {
            // The peer has gone, which ends a run.
        }
        catch (Exception reason)
        {
            failure = reason;
        }

        clock.Failed.Set(); // before the completion, after which the clock may be gone
        if (failure is null)
            _completion.SetResult();
        else
            _completion.SetException(failure);
    }

    /// <summary>Until the end, or until the peer goes.</summary>
    private void Serve()
    {
        while (clock.Phase != BenchPhase.Stop)
        {
            bool served = false;
            foreach (NetBenchPair pair in pairs)
            {
                if (pair.IsUp)
                {
                    pair.Turn();
                    served = true;
                }
                else if (pair.WasUp)
                {
                    return;
                }
            }

            if (!served)
                Thread.Sleep(1);
        }
    }
}
