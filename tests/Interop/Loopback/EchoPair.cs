using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Loopback;

/// <summary>Both halves in one process, and one ring of a device that echoes, and throws when it is told to.</summary>
internal sealed class EchoPair : IAsyncDisposable
{
    private const int Bytes = sizeof(ulong);
    private const ulong AskedAt = 0x8_0000;
    private const ulong AnsweredAt = 0x9_0000;

    private readonly GuestMemory _memory = GuestRam.Create(1 << 20);
    private readonly GuestMemoryLease _lease;
    private readonly EventNotifier _kick = new();
    private readonly EventNotifier _call = new();
    private readonly DriverVirtqueue _driver;
    private readonly Task _serving;

    private EchoPair(VhostUserConnection connection, VhostUserBackendOptions options)
    {
        _lease = _memory.Acquire();
        _driver = DriverVirtqueue.Create(_memory, default, new DriverVirtqueueOptions { Size = 16 }, VirtioFeatures.Version1);
        Backend = new VhostUserBackend(Device, options with { LoggerFactory = Log });
        _serving = Task.Run(() => Backend.ServeAsync(connection));
    }

    internal FickleDevice Device { get; } = new();

    internal VhostUserBackend Backend { get; }

    internal VhostUserFrontend Frontend { get; private set; } = null!;

    /// <summary>What the back-end has logged.</summary>
    internal LogRecorder Log { get; } = new();

    /// <summary>The ring's notifier for errors, in the front-end.</summary>
    internal EventNotifier Error { get; } = new();

    internal QueueStatus Queue => Backend.GetStatus()!.Queues[0];

    /// <summary>A session without memory and without a ring.</summary>
    internal static async Task<EchoPair> NegotiateAsync(VhostUserProtocolFeatures required = VhostUserProtocolFeatures.None, VhostUserBackendOptions? options = null)
    {
        (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
        EchoPair pair = new(back, options ?? new VhostUserBackendOptions());
        pair.Frontend = await VhostUserFrontend.StartAsync(front, new VhostUserFrontendOptions { RequiredProtocolFeatures = required });
        return pair;
    }

    /// <summary>The same with its ring started.</summary>
    internal static async Task<EchoPair> StartAsync(VhostUserProtocolFeatures required = VhostUserProtocolFeatures.None, VhostUserBackendOptions? options = null)
    {
        EchoPair pair = await NegotiateAsync(required, options);
        await pair.Frontend.SetFeaturesAsync(VirtioFeatures.Version1);
        await pair.Frontend.SetMemoryAsync(pair._memory);
        await pair.Frontend.StartVringAsync(pair._driver.Describe(0, pair._kick, pair._call, pair.Error));
        return pair;
    }

    internal void Submit(ulong token)
    {
        _lease.TryWrite(new GuestAddress(AskedAt), token).Should().BeTrue();
        _driver.TrySubmit([new GuestBuffer(new GuestAddress(AskedAt), Bytes)], [new GuestBuffer(new GuestAddress(AnsweredAt), Bytes)], token).Should().BeTrue();
        if (_driver.Publish())
            _kick.Signal();
    }

    internal async Task EchoAsync(ulong token)
    {
        Submit(token);
        DriverCompletion[] done = new DriverCompletion[1];
        await Eventually.TrueAsync(() => _driver.Drain(done) == 1);
        _lease.TryRead(new GuestAddress(AnsweredAt), out ulong answer).Should().BeTrue();
        (done[0].Token, answer).Should().Be((token, token));
    }

    public async ValueTask DisposeAsync()
    {
        await Frontend.DisposeAsync();
        await _serving.InTime();
        await Backend.DisposeAsync();
        _driver.Dispose();
        _lease.Dispose();
        _memory.Dispose();
        _kick.Dispose();
        _call.Dispose();
        Error.Dispose();
    }

    internal sealed class FickleDevice : IVhostUserDevice
    {
        private int _resets;

        internal int Resets => Volatile.Read(ref _resets);

        /// <summary>It fails at its next turn.</summary>
        internal bool Throws { get; set; }

        public int QueueCount => 2;

        public VirtioFeatures Features => VirtioFeatures.Version1;

        public void Reset() => Interlocked.Increment(ref _resets);

        public void Process(DeviceVirtqueue queue)
        {
            if (Throws)
                throw new InvalidOperationException("the test device was told to fail");
            while (queue.TryPop(out DescriptorChain chain))
            {
                chain.Readable.TryRead(out ulong token);
                chain.Writable.TryWrite(token);
                queue.Complete(chain, Bytes);
            }
        }
    }
}
