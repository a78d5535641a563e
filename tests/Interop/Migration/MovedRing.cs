using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Migration;

/// <summary>A driver with one ring and a region for what is in flight, whose back-ends come one after the other.</summary>
internal sealed class MovedRing : IAsyncDisposable
{
    internal const int Entries = 16;

    private const VhostUserProtocolFeatures Wanted = VhostUserProtocolFeatures.InflightShmFd | VhostUserProtocolFeatures.GetVringBaseInflight
        | VhostUserProtocolFeatures.GetVringBaseSkipDrain | VhostUserProtocolFeatures.LogShmFd;

    private static readonly VhostUserFrontendOptions _options = new() { WantedProtocolFeatures = new VhostUserFrontendOptions().WantedProtocolFeatures | Wanted };

    private readonly VirtioFeatures _features;
    private readonly EventNotifier _kick = new();
    private readonly EventNotifier _call = new();
    private readonly DriverVirtqueue _driver;
    private VhostUserBackend? _backend;
    private Task _serving = Task.CompletedTask;
    private ulong _submitted;

    internal MovedRing(VirtioFeatures ring)
    {
        _features = ring | VirtioFeatures.Version1;
        _driver = DriverVirtqueue.Create(Memory, default, new DriverVirtqueueOptions { Size = Entries }, _features);
    }

    internal GuestMemory Memory { get; } = GuestRam.Create(1 << 20);

    internal InflightRegion? Region { get; set; }

    internal VhostUserFrontend Frontend { get; private set; } = null!;

    internal FrontendVring Ring { get; private set; } = null!;

    internal int InFlight => _driver.InFlight;

    internal static GuestAddress AnswerOf(ulong token) => new(0x9_0000 + (token % 16 * 0x1000));

    /// <summary>The next back-end: negotiated, with memory and region, and with the ring started.</summary>
    internal async Task AttachAsync(IVhostUserDevice device, VhostUserBackendOptions? options = null, VringBase? at = null, bool withRegion = true)
    {
        (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
        _backend = new VhostUserBackend(device, options);
        _serving = Task.Run(() => _backend.ServeAsync(back));
        Frontend = await VhostUserFrontend.StartAsync(front, _options);
        await Frontend.SetFeaturesAsync(_features);
        await Frontend.SetMemoryAsync(Memory);
        if (withRegion)
        {
            Region ??= await Frontend.CreateInflightRegionAsync(1, Entries);
            await Frontend.UseInflightRegionAsync(Region!);
        }

        VringSettings settings = _driver.Describe(0, _kick, _call);
        Ring = await Frontend.StartVringAsync(at is { } known ? settings with { Base = known } : settings);
    }

    internal async Task DetachAsync()
    {
        await Frontend.DisposeAsync();
        await _serving.InTime();
        await _backend!.DisposeAsync();
        _backend = null;
    }

    internal void Submit(int count)
    {
        using GuestMemoryLease lease = Memory.Acquire();
        for (int i = 0; i < count; i++, _submitted++)
        {
            GuestAddress at = new(0x8_0000 + (_submitted % 16 * 0x1000));
            lease.TryWrite(at, _submitted).Should().BeTrue();
            _driver.TrySubmit([new GuestBuffer(at, 8)], [new GuestBuffer(AnswerOf(_submitted), 8)], _submitted).Should().BeTrue();
        }

        if (_driver.Publish())
            _kick.Signal();
    }

    /// <summary>The requests that come back, each with its answer; what comes later is of the next call.</summary>
    internal ulong[] Collect(int count)
    {
        DriverCompletion[] done = new DriverCompletion[Entries];
        int got = 0;
        SpinWait.SpinUntil(() => (got += _driver.Drain(done.AsSpan(got))) >= count, Eventually.Deadline).Should().BeTrue();
        using GuestMemoryLease lease = Memory.Acquire();
        foreach (DriverCompletion one in done.Take(got))
        {
            lease.TryRead(AnswerOf(one.Token), out ulong answer).Should().BeTrue();
            (answer, one.BytesWritten).Should().Be((one.Token, 8u));
        }

        return [.. done.Take(got).Select(one => one.Token)];
    }

    public async ValueTask DisposeAsync()
    {
        if (_backend is not null)
            await DetachAsync();
        Region?.Dispose();
        _driver.Dispose();
        _call.Dispose();
        _kick.Dispose();
        Memory.Dispose();
    }
}
