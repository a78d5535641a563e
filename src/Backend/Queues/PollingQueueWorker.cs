using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>A thread that looks at the ring without pause. Kicks are suppressed; while the ring is not served the thread blocks.</summary>
internal sealed class PollingQueueWorker(DeviceVirtqueue queue, EventNotifier? kick, QueueWorkerContext context)
    : ThreadQueueWorker(queue, kick, context)
{
    protected override void Loop()
    {
        while (true)
        {
            int seen = Requests;
            RunCommands();
            if (Active)
                Spin();
            else
                Work();
            if (Stopped)
                return;
            if (!Active)
                SleepUnlessAsked(seen);
        }
    }

    private void Spin()
    {
        Queue.DisarmKick();
        while (Active && !CommandPosted)
        {
            uint before = Queue.Batches;
            Work();
            if (Queue.Batches == before)
                Thread.SpinWait(1);
        }
    }
}
