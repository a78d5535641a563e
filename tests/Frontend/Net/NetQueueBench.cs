using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>One queue of a network client without a session: the test is the device, word by word.</summary>
public abstract class NetQueueBench : IDisposable
{
    private const ulong RingStart = 0x1000;
    private const ulong PacketStart = 0x10_0000;

    private readonly EventNotifier _kick = new();
    private readonly EventNotifier _call = new();
    private readonly GuestMemoryLease _lease;
    private DriverVirtqueue? _ring;

    protected NetQueueBench() => _lease = Memory.Acquire();

    protected GuestMemory Memory { get; } = GuestRam.Create(32 << 20);

    protected PacketPool Pool { get; } = new(64);

    private protected HandDevice Device { get; private set; } = null!;

    private protected NetReceiver Receiver { get; private set; } = null!;

    private protected NetSender Sender { get; private set; } = null!;

    /// <summary>Whether the sender streams what it can.</summary>
    private protected bool Streams { get; init; }

    public void Dispose()
    {
        Receiver?.Close();
        Sender?.Close();
        _ring?.Dispose();
        Device?.Dispose();
        _lease.Dispose();
        Memory.Dispose();
        Memory.Released.IsCompleted.Should().BeTrue("every lease of the queue has ended");
        _kick.Dispose();
        _call.Dispose();
        GC.SuppressFinalize(this);
    }

    private protected void StartReceiver(
        bool packed, VirtioNetFeatures net = VirtioNetFeatures.MergeableBuffers, VirtioFeatures ring = VirtioFeatures.Version1, int size = 16, int buffer = 512)
    {
        NetClientOptions options = new() { QueueSize = (ushort)size, BufferSize = buffer };
        VirtioFeatures features = Features(packed, net, ring);
        NetQueueShape shape = NetQueueShape.ForReceiving(options, features);
        _ring = DriverVirtqueue.Create(Memory, new GuestAddress(RingStart), shape.Ring, features);
        Receiver = new NetReceiver(0, _ring, shape, new NetQueueMemory(Memory, new GuestAddress(PacketStart), shape), _kick, _call, classify: true);
        Receiver.Start();
        Device = HandDevice.Create(Memory, _ring.Describe(0, _kick, _call), packed);
    }

    private protected void StartSender(
        bool packed, VirtioNetFeatures net = VirtioNetFeatures.None, VirtioFeatures ring = VirtioFeatures.Version1, int size = 16, int buffer = 512, int indirect = 0)
    {
        NetClientOptions options = new() { QueueSize = (ushort)size, BufferSize = buffer, IndirectBuffers = indirect };
        VirtioFeatures features = Features(packed, net, ring | (indirect > 0 ? VirtioFeatures.IndirectDescriptors : 0));
        NetQueueShape shape = NetQueueShape.ForSending(options, features);
        _ring = DriverVirtqueue.Create(Memory, new GuestAddress(RingStart), shape.Ring, features);
        Sender = new NetSender(1, _ring, shape, new NetQueueMemory(Memory, new GuestAddress(PacketStart), shape), _kick, _call, classify: true) { AlwaysStreams = Streams };
        Device = HandDevice.Create(Memory, _ring.Describe(0, _kick, _call), packed);
    }

    /// <summary>Another device begins with the ring, which is fresh.</summary>
    private protected void RestartDevice(bool packed)
    {
        Device.Dispose();
        Device = HandDevice.Create(Memory, _ring!.Describe(0, _kick, _call), packed);
    }

    private protected static void Build(OutgoingBurst burst, int packet, ReadOnlySpan<byte> bytes)
    {
        burst.Write(packet, 0, bytes);
        burst.SetLength(packet, bytes.Length);
    }

    /// <summary>Sends packets that are built in place.</summary>
    private protected int Send(params byte[][] packets)
    {
        using OutgoingBurst burst = Sender.BeginBurst(packets.Length);
        for (int i = 0; i < burst.Count; i++)
            Build(burst, i, packets[i]);
        burst.Send(burst.Count);
        return burst.Count;
    }

    /// <summary>Whether the queue has given up its ring, and with it its hold on the memory.</summary>
    private protected bool IsRingDisposed => _ring!.Fault == VirtqueueFault.RingOutsideMemory;

    /// <summary>The device calls.</summary>
    private protected void Call() => _call.Signal();

    private protected void Put(ulong at, ReadOnlySpan<byte> bytes) => _lease.TryCopyFrom(bytes, new GuestAddress(at)).Should().BeTrue();

    private protected byte[] Get(HandChain chain) => [.. chain.Pieces.SelectMany(piece => Get(piece.At, (int)piece.Length))];

    private protected byte[] Get(ulong at, int count)
    {
        byte[] bytes = new byte[count];
        _lease.TryCopyTo(new GuestAddress(at), bytes).Should().BeTrue();
        return bytes;
    }

    /// <summary>Writes bytes into the pieces of a chain.</summary>
    private protected void Fill(HandChain chain, ReadOnlySpan<byte> bytes)
    {
        foreach ((ulong at, uint length, bool write) in chain.Pieces)
        {
            write.Should().BeTrue("a receiver offers nothing else");
            int count = (int)Math.Min(length, (uint)bytes.Length);
            Put(at, bytes[..count]);
            bytes = bytes[count..];
        }
    }

    private protected static byte[] Bytes(int count, int seed = 0) => [.. Enumerable.Range(0, count).Select(i => (byte)((i * 7) + seed + 2))];

    private protected static byte[] Header(VirtioNetHeader header, int size = 12)
    {
        byte[] bytes = new byte[12];
        header.Write(bytes);
        return bytes[..size];
    }

    private protected static byte[] One => Header(new(0, 0, 0, 0, 0, 0, 1));

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

    private static VirtioFeatures Features(bool packed, VirtioNetFeatures net, VirtioFeatures ring) =>
        ring | (VirtioFeatures)(ulong)net | (packed ? VirtioFeatures.RingPacked : 0);
}
