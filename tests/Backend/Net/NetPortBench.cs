using Microsoft.Extensions.Logging.Abstractions;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>A network device without a front-end: its rings lie in memory of the test, which is the driver word by word.</summary>
public abstract class NetPortBench : IAsyncLifetime
{
    /// <summary>Where buffers may lie: two regions meet at <see cref="Seam"/>, and behind <see cref="End"/> there is nothing.</summary>
    protected const ulong Data = 0x20_0000;
    protected const ulong Seam = 0x40_0000;
    protected const ulong End = 0x80_0000;

    private readonly List<QueueWorker> _workers = [];
    private readonly List<HandRing> _rings = [];
    private GuestMemoryLease _lease;

    protected GuestMemory Memory { get; } = GuestRam.Create((0UL, Seam), (Seam, End - Seam));

    private protected NetDevice Device { get; private set; } = null!;

    private protected NetPort Port => Device.Ports[0];

    /// <summary>Buffers for packets to the guest.</summary>
    private protected HandRing Receive => _rings[0];

    /// <summary>Packets from the guest.</summary>
    private protected HandRing Transmit => _rings[1];

    /// <summary>What the session was told about broken queues.</summary>
    protected List<string?> Broken { get; } = [];

    protected PacketPool Pool { get; } = new(64);

    public Task InitializeAsync()
    {
        _lease = Memory.Acquire();
        return Task.CompletedTask;
    }

    public async Task DisposeAsync()
    {
        await StopAsync();
        _rings.ForEach(ring => ring.Dispose());
        _lease.Dispose();
        Memory.Dispose();
        Memory.Released.IsCompleted.Should().BeTrue("every lease of the queues has ended");
    }

    protected async Task StopAsync()
    {
        foreach (QueueWorker worker in _workers)
            await worker.StopAsync().InTime();
        _workers.Clear();
    }

    private protected void Start(
        bool packed, VirtioNetFeatures net = VirtioNetFeatures.MergeableBuffers, VirtioFeatures ring = VirtioFeatures.Version1, int size = 64, NetDeviceOptions? options = null, int queues = 2,
        INetHandler? handler = null, EventNotifier? kick = null, EventNotifier? call = null, Action<NetDevice>? prepare = null)
    {
        VirtioFeatures features = ring | (VirtioFeatures)(ulong)net;
        Device = new NetDevice(options, handler);
        prepare?.Invoke(Device);
        Device.Configure(features);
        for (int i = 0; i < queues; i++)
            StartQueue(i, packed, size, features, handler is null ? QueueDispatch.Application : QueueDispatch.Async, kick, call);
    }

    private protected HandRing Ring(int queue) => _rings[queue];

    private protected QueueWorker Worker(int queue) => _workers[queue];

    private protected virtual DeviceVirtqueue? Activate(in VirtqueueSetup setup, EventNotifier? call, out string why) => DeviceVirtqueue.TryActivate(Memory, setup, call, out _, out why);

    private protected void Put(ulong at, ReadOnlySpan<byte> bytes) => _lease.TryCopyFrom(bytes, new GuestAddress(at)).Should().BeTrue();

    private protected byte[] Get(ulong at, int count)
    {
        byte[] bytes = new byte[count];
        _lease.TryCopyTo(new GuestAddress(at), bytes).Should().BeTrue();
        return bytes;
    }

    private protected static byte[] Bytes(int count, int seed = 0) => [.. Enumerable.Range(0, count).Select(i => (byte)((i * 7) + seed + 2))];

    private protected static byte[] Header(VirtioNetHeader header = default, int size = 12)
    {
        byte[] bytes = new byte[12];
        header.Write(bytes);
        return bytes[..size];
    }

    private protected PacketBuffer[] Rent(int count)
    {
        PacketBuffer[] packets = new PacketBuffer[count];
        Pool.RentBurst(packets).Should().Be(count);
        return packets;
    }

    private protected PacketBuffer Packet(byte[] bytes, PacketOffload offload = default)
    {
        PacketBuffer packet = Rent(1)[0];
        packet.TryCopyFrom(bytes).Should().BeTrue();
        packet.Offload = offload;
        return packet;
    }

    private protected static byte[] BytesOf(PacketBuffer packet)
    {
        byte[] bytes = new byte[packet.PacketLength];
        packet.CopyTo(bytes);
        return bytes;
    }

    private void StartQueue(int index, bool packed, int size, VirtioFeatures features, QueueDispatch dispatch, EventNotifier? kick, EventNotifier? call)
    {
        HandRing ring = HandRing.Create(Memory, 0x1_0000UL * (ulong)(index + 1), size, packed);
        _rings.Add(ring);
        DeviceVirtqueue? queue = Activate(ring.Setup(index, features), call, out string why);
        queue.Should().NotBeNull(why);
        QueueWorkerContext context = new(
            Device, new VhostUserBackendOptions { Dispatch = dispatch, DrainTimeout = TimeSpan.FromSeconds(1) }, NullLogger.Instance, broken => Broken.Add(broken.FaultDetail));
        _workers.Add(QueueWorker.Start(queue!, kick, enabled: true, context));
    }
}
