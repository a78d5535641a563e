using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;

namespace VhostBackend1.Tests;

/// <summary>Both halves in one process: a driver without a guest, and the device.</summary>
internal sealed class Driver : IAsyncDisposable
{
    private static readonly TimeSpan _deadline = TimeSpan.FromSeconds(30);

    private readonly SharedMemory _ram = SharedMemory.CreateSealed("test", 1 << 20);
    private readonly List<DriverQueue> _queues = [];
    private readonly GuestMemory _memory;
    private readonly VhostUserFrontend _session;
    private readonly VhostUserBackend _backend;
    private readonly Task _serving;

    private Driver(VhostUserFrontend session, VhostUserBackend backend, Task serving)
    {
        _memory = GuestMemory.Create(new GuestMemoryRegion(new GuestAddress(0), _ram));
        _session = session;
        _backend = backend;
        _serving = serving;
    }

    internal IReadOnlyList<DriverQueue> Queues => _queues;

    internal static async Task<Driver> StartAsync(IVhostUserDevice device, int queues, VirtioFeatures features)
    {
        (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
        VhostUserBackend backend = new(device);
        Task serving = backend.ServeAsync(back);
        VhostUserFrontend session = await VhostUserFrontend.StartAsync(front, new VhostUserFrontendOptions { WantedFeatures = features, Queues = queues });
        Driver driver = new(session, backend, serving);
        await session.SetMemoryAsync(driver._memory);
        for (int index = 0; index < queues; index++)
            driver._queues.Add(new DriverQueue(driver._memory, index, session.AcknowledgedFeatures));
        await session.StartVringsAsync([.. driver._queues.Select(queue => queue.Describe())]);
        return driver;
    }

    public async ValueTask DisposeAsync()
    {
        await _session.DisposeAsync();
        await _serving.WaitAsync(_deadline);
        await _backend.DisposeAsync();
        _queues.ForEach(queue => queue.Dispose());
        _memory.Dispose();
        _ram.Dispose();
    }
}
