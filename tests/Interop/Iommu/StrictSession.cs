using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Iommu;

/// <summary>A device of the library behind an IOMMU, in one process with the guest that drives it.</summary>
internal sealed class StrictSession : IAsyncDisposable
{
    private Task _serving = Task.CompletedTask;

    private StrictSession(IVhostUserDevice device, VhostUserBackendOptions options, StrictGuest guest) => (Backend, Guest) = (new VhostUserBackend(device, options), guest);

    internal StrictGuest Guest { get; }

    internal VhostUserBackend Backend { get; }

    internal VhostUserFrontend Frontend { get; private set; } = null!;

    internal IReadOnlyList<FrontendVring> Rings { get; private set; } = [];

    internal StrictQueue[] Queues { get; private set; } = [];

    internal StrictQueue Queue => Queues[0];

    internal static VhostUserBackendOptions Options => new()
    {
        AdditionalFeatures = VirtioFeatures.AccessPlatform,
        IotlbRetry = TimeSpan.FromMilliseconds(5),
        DrainTimeout = TimeSpan.FromSeconds(5),
    };

    internal static async Task<StrictSession> StartAsync(
        IVhostUserDevice device, VirtioFeatures features, int queues = 1, VhostUserBackendOptions? options = null, IVirtioIommu? iommu = null, ushort size = 64, bool scattersRings = false)
    {
        StrictSession session = new(device, options ?? Options, new StrictGuest(scattersRings));
        (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
        session._serving = Task.Run(() => session.Backend.ServeAsync(back));
        features |= VirtioFeatures.Version1;
        VhostUserFrontendOptions wanted = new()
        {
            WantedFeatures = features,
            RequiredFeatures = features | VirtioFeatures.AccessPlatform,
            RequiredProtocolFeatures = VhostUserProtocolFeatures.LogShmFd,
            Iommu = iommu ?? session.Guest.Iommu,
            Queues = queues,
            QueuesWithoutMultiQueue = queues,
        };
        session.Frontend = await VhostUserFrontend.StartAsync(front, wanted).InTime();
        await session.Frontend.SetMemoryAsync(session.Guest.Memory).InTime();
        session.Queues = [.. Enumerable.Range(0, queues).Select(_ => new StrictQueue(session.Guest, features, size))];
        session.Rings = await session.Frontend.StartVringsAsync([.. session.Queues.Select((queue, i) => queue.Describe(i))]).InTime();
        return session;
    }

    public async ValueTask DisposeAsync()
    {
        await Frontend.DisposeAsync();
        await _serving.InTime();
        await Backend.DisposeAsync();
        foreach (StrictQueue queue in Queues)
            queue.Dispose();
        Guest.Dispose();
    }
}
