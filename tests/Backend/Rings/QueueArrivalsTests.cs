using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>A queue that is stopped and started again while it waits for memory.</summary>
[Collection(ProcessCounts.Name)]
public sealed class QueueArrivalsTests
{
    private const ulong Page = 4096;

    [Fact]
    public async Task A_queue_waits_once_however_often_it_asks_and_its_last_life_is_told()
    {
        using UserFaults faults = UserFaults.Open();
        using SharedMemory memory = SharedMemory.CreateSealed("queue", 4 * Page);
        using IncomingMemory incoming = IncomingMemory.Beside(memory, faults);
        PageThreads threads = new(1, TimeSpan.FromMinutes(5), TimeProvider.System, static () => { });
        QueueArrivals queue = new(threads);
        int[] told = new int[3];
        TaskCompletionSource[] lives = [new(), new(), new()];
        Task<int> first = queue.BringInAsync(new AbsentRange(incoming, 0, 1), () => told[0]++);
        Task<int> again = queue.BringInAsync(new AbsentRange(incoming, Page, 1), () =>
        {
            told[1]++;
            lives[1].TrySetResult();
        });

        again.Should().BeSameAs(first);
        faults.Place((nint)incoming.WatchedAddress, new byte[Page], out _);
        (await first.InTime()).Should().Be(0);
        await lives[1].Task.InTime();
        told[0].Should().Be(0, "that life is over");
        Task<int> next = queue.BringInAsync(new AbsentRange(incoming, Page, 1), () => lives[2].TrySetResult());
        next.Should().NotBeSameAs(first);
        incoming.Dispose();
        (await next.InTime()).Should().Be(IMemoryArrivals.Over);
        await lives[2].Task.InTime();
        await threads.EndAsync().InTime();
    }
}
