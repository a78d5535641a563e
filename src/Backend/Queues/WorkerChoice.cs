using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>Who serves a queue: what the device says of it, with what the options have.</summary>
internal static class WorkerChoice
{
    /// <summary>A worker that has not begun. Where device and options have none for the queue, one whose queue is broken: a mistake of the application, which costs nothing else.</summary>
    internal static QueueWorker Make(DeviceVirtqueue queue, EventNotifier? kick, QueueWorkerContext context)
    {
        try
        {
            return context.Device.DispatchOf(queue.Index, context.Options.Dispatch) switch
            {
                QueueDispatch.Async => new AsyncQueueWorker(queue, kick, context),
                QueueDispatch.Application => new ApplicationQueueWorker(queue, kick, context, RequireApplications(queue.Index, context.Device)),
                QueueDispatch.SharedThreads => new ThreadQueueWorker(queue, kick, context, SharedThread(queue.Index, context.Options), isOwn: false),
                QueueDispatch way => new ThreadQueueWorker(queue, kick, context, OwnThread(queue, way == QueueDispatch.BusyPoll, context), isOwn: true),
            };
        }
        catch (Exception e) when (e is not LinuxException)
        {
            queue.Fail(e);
            return new AsyncQueueWorker(queue, kick, context);
        }
    }

    private static IApplicationServedDevice RequireApplications(int queue, IVhostUserDevice device) => device as IApplicationServedDevice
        ?? throw new InvalidOperationException($"Queue {queue} is to be served by the application (Application), but {device.GetType().Name} does not implement IApplicationServedDevice: nobody would.");

    private static QueueThread SharedThread(int queue, VhostUserBackendOptions options)
    {
        QueueThreads threads = options.Threads ?? throw new InvalidOperationException($"Queue {queue} is to be served by shared threads, but the options name none (Threads).");
        int? chosen = options.ThreadOf?.Invoke(queue);
        return chosen is null || (chosen >= 0 && chosen < threads.Count)
            ? threads.Choose(chosen)
            : throw new InvalidOperationException($"ThreadOf gave {chosen} for queue {queue}; there are {threads.Count} threads, from 0 on.");
    }

    /// <summary>A thread that ends with the queue.</summary>
    private static QueueThread OwnThread(DeviceVirtqueue queue, bool polls, QueueWorkerContext context)
    {
        IReadOnlyList<int> processors = context.Options.Processors;
        int? processor = processors.Count > 0 ? processors[queue.Index % processors.Count] : null;
        QueueThread thread = new(polls, processor, NotBound);
        thread.Start($"vhost queue {queue.Index}");
        return thread;

        void NotBound(LinuxException reason)
        {
            if (context.MayLog())
                BackendLog.PinFailed(context.Logger, queue.Owner, queue.Index, queue.Format, processor!.Value, reason.Message);
        }
    }
}
