using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Iommu;

/// <summary>A ring behind an IOMMU that the application serves on a thread of its own.</summary>
public sealed class WithdrawnApplicationRingTests
{
    [Fact]
    public Task An_application_gets_nothing_from_a_ring_that_is_withdrawn_and_goes_on_with_the_answer() => ServeAsync(async (backend, frontend, guest, ring, iommu, device) =>
    {
        ApplicationQueue queue = await device.StartedAsync(frontend);
        ring.Submit(1);
        device.Serve(queue).Should().Be(1);
        await ring.ExpectEchoAsync(1);
        for (byte fill = 2; fill < 20; fill++)
        {
            await iommu.SayAsync(RawIommu.Invalidation(guest.UserStart.Value, TestGuest.Size));
            ring.Submit(fill);
            ExpectNothing(queue);
            Task<int> serving = device.ServeWhenThereIsSomethingAsync(queue);
            await frontend.BarrierAsync();
            serving.IsCompleted.Should().BeFalse();
            ring.UsedIndex.Should().Be((ushort)(fill - 1));

            await iommu.MapRingsAsync();

            (await serving.InTime()).Should().Be(1);
            await ring.ExpectEchoAsync(fill);
        }
    });

    [Fact]
    public Task An_application_gets_a_request_when_its_pages_are_translated() => ServeAsync(async (backend, frontend, guest, ring, iommu, device) =>
    {
        ApplicationQueue queue = await device.StartedAsync(frontend);
        for (byte fill = 1; fill < 20; fill++)
        {
            await iommu.SayAsync(RawIommu.Invalidation(guest.GuestStart.Value, TestGuest.Size));
            ring.Submit(fill);
            device.Serve(queue).Should().Be(0);
            (await iommu.AskedAsync()).Address.Value.Should().BeInRange(guest.Guest(0x4000).Value, guest.Guest(0x4FFF).Value);
            Task<int> serving = device.ServeWhenThereIsSomethingAsync(queue);
            await frontend.BarrierAsync();
            serving.IsCompleted.Should().BeFalse();

            await iommu.MapBuffersAsync();

            (await serving.InTime()).Should().Be(1);
            await ring.ExpectEchoAsync(fill);
        }
    });

    [Fact]
    public Task While_an_application_is_inside_nothing_is_withdrawn_from_under_it() => ServeAsync(async (backend, frontend, guest, ring, iommu, device) =>
    {
        ApplicationQueue queue = await device.StartedAsync(frontend);
        ring.Submit(1);
        Task withdrawn = Task.CompletedTask;
        await Task.Run(() =>
        {
            long before = backend.GetIotlbStatistics().Invalidations;
            queue.TryEnter(out DeviceVirtqueue? inside).Should().BeTrue();
            withdrawn = iommu.SayAsync(RawIommu.Invalidation(guest.UserStart.Value, TestGuest.Size));
            SpinWait.SpinUntil(() => backend.GetIotlbStatistics().Invalidations > before, Eventually.Deadline).Should().BeTrue();
            device.Echo(inside!).Should().Be(1, "it has the ring until it leaves");
            withdrawn.IsCompleted.Should().BeFalse();
            ring.UsedIndex.Should().Be(0);
            queue.Exit();
        }).InTime();

        await withdrawn.InTime();
        await ring.ExpectEchoAsync(1);
        ring.Submit(2);
        ExpectNothing(queue);
        await iommu.MapRingsAsync();
        device.Serve(queue).Should().Be(1);
        await ring.ExpectEchoAsync(2);
    });

    private static void ExpectNothing(ApplicationQueue queue)
    {
        queue.TryEnter(out DeviceVirtqueue? inside).Should().BeTrue();
        inside!.IsSuspended.Should().BeTrue();
        inside.TryPop(out _).Should().BeFalse();
        inside.TakeBurst().Count.Should().Be(0);
        inside.CountAvailable(1).Should().Be(0);
        inside.Flush();
        inside.Fault.Should().Be(VirtqueueFault.None);
        queue.Exit();
    }

    private static async Task ServeAsync(Func<VhostUserBackend, RawFrontend, TestGuest, TestRing, RawIommu, Application, Task> dialogue)
    {
        Application device = new();
        await using VhostUserBackend backend = new(device, RawIommu.Options with { Dispatch = QueueDispatch.Application });
        (VhostUserConnection end, VhostUserConnection ours) = VhostUserConnection.CreatePair();
        Task served = backend.ServeAsync(ours);
        using (TestGuest guest = new())
        using (TestRing ring = new(guest, 0))
        await using (RawFrontend frontend = new(end))
        await using (RawIommu iommu = await RawIommu.StartAsync(frontend, guest))
        {
            await iommu.MapAllAsync();
            await frontend.StartAsync(ring);
            await dialogue(backend, frontend, guest, ring, iommu, device);
        }

        await served.InTime();
    }

    private sealed class Application : IApplicationServedDevice
    {
        private readonly EchoDevice _echo = new();
        private readonly TaskCompletionSource<ApplicationQueue> _started = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public int QueueCount => 1;

        public VirtioFeatures Features => VirtioFeatures.Version1;

        public void Process(DeviceVirtqueue queue) => throw new InvalidOperationException("The application serves the queue.");

        public void QueueStarted(ApplicationQueue queue) => _started.TrySetResult(queue);

        /// <summary>The queue, once it is enabled.</summary>
        public async Task<ApplicationQueue> StartedAsync(RawFrontend frontend)
        {
            await frontend.BarrierAsync();
            return await _started.Task.InTime();
        }

        /// <summary>Serves what there is; how much that was.</summary>
        public int Echo(DeviceVirtqueue inside)
        {
            int before = _echo.Processed;
            _echo.Process(inside);
            return _echo.Processed - before;
        }

        /// <summary>The same from outside.</summary>
        public int Serve(ApplicationQueue queue)
        {
            if (!queue.TryEnter(out DeviceVirtqueue? inside))
                return 0;
            int served = Echo(inside);
            queue.Exit();
            return served;
        }

        public async Task<int> ServeWhenThereIsSomethingAsync(ApplicationQueue queue)
        {
            while (true)
            {
                int served = Serve(queue);
                if (served > 0)
                    return served;
                await queue.WaitAsync();
            }
        }
    }
}
