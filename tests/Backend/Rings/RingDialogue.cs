namespace Vhost.Backend.Tests.Rings;

/// <summary>A negotiated front-end with one region of memory and one ring that is not described yet, for each way to wait.</summary>
internal static class RingDialogue
{
    public static TheoryData<QueueDispatch> Dispatches => [QueueDispatch.Async, QueueDispatch.DedicatedThread, QueueDispatch.BusyPoll, QueueDispatch.SharedThreads];

    public static async Task RunAsync(QueueDispatch dispatch, Func<RawFrontend, TestGuest, TestRing, Task> dialogue, int lines = 0)
    {
        await using HostileBench bench = await HostileBench.StartAsync(options: new VhostUserBackendOptions { Dispatch = dispatch });
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using TestGuest guest = new();
            using TestRing ring = new(guest, 0);
            await dialogue(frontend, guest, ring);
        }

        await bench.CheckInvariantsAsync(lines);
    }
}
