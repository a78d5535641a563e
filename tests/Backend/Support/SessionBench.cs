using Vhost.Protocol;

namespace Vhost.Backend.Tests;

/// <summary>A back-end over a socket pair, a front-end that is written by hand, and a guest whose queues are started one by one.</summary>
internal sealed class SessionBench : IAsyncDisposable
{
    private readonly List<TestRing> _rings = [];

    /// <summary>Connects, and says nothing yet.</summary>
    /// <param name="device">What is served; null: an echo.</param>
    /// <param name="options">How.</param>
    /// <param name="listen">Attaches handlers before anything happens.</param>
    public SessionBench(IVhostUserDevice? device = null, VhostUserBackendOptions? options = null, Action<VhostUserBackend>? listen = null)
    {
        Backend = new VhostUserBackend(device ?? new EchoDevice(), options);
        listen?.Invoke(Backend);
        (VhostUserConnection end, VhostUserConnection ours) = VhostUserConnection.CreatePair();
        Frontend = new RawFrontend(end);
        Served = Backend.ServeAsync(ours);
    }

    public VhostUserBackend Backend { get; }

    public RawFrontend Frontend { get; }

    public TestGuest Guest { get; } = new();

    /// <summary>Ends with the front-end.</summary>
    public Task Served { get; }

    /// <summary>The front-end acknowledges everything and shares its memory.</summary>
    public static async Task<SessionBench> StartAsync(IVhostUserDevice? device = null, VhostUserBackendOptions? options = null, Action<VhostUserBackend>? listen = null)
    {
        SessionBench bench = new(device, options, listen);
        await bench.Frontend.NegotiateAsync();
        await bench.Frontend.AddMemoryAsync(bench.Guest);
        return bench;
    }

    /// <summary>A ring of the guest's, which is not started yet.</summary>
    public TestRing Ring(int queue = 0)
    {
        TestRing ring = new(Guest, queue);
        _rings.Add(ring);
        return ring;
    }

    /// <summary>A ring that is started and enabled.</summary>
    public async Task<TestRing> RunAsync(int queue = 0)
    {
        TestRing ring = Ring(queue);
        await Frontend.StartAsync(ring);
        return ring;
    }

    public async ValueTask DisposeAsync()
    {
        await Frontend.DisposeAsync();
        await Backend.DisposeAsync();
        _rings.ForEach(static ring => ring.Dispose());
        Guest.Dispose();
    }
}
