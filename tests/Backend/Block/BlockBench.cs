using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>A block device, one activated queue, and a driver that writes the ring by hand.</summary>
internal sealed class BlockBench : IDisposable
{
    public const ulong HeaderAt = 0x8000;
    public const ulong StatusAt = 0x8100;
    public const ulong DataAt = 0x10000;
    public const ulong MemorySize = 16 << 20;
    public const byte NoStatus = 0xEE;

    private readonly GuestMemory _memory = GuestRam.Create(MemorySize);
    private readonly GuestMemoryLease _lease;
    private readonly DeviceVirtqueue _queue;

    public BlockBench(IBlockStorage? storage = null, BlockDeviceOptions? options = null, VirtioBlkFeatures? acknowledged = null, int ringSize = 64)
    {
        Storage = storage ?? new MemoryStorage(1 << 20);
        Device = new BlockDevice(Storage, options);
        Device.Configure(acknowledged is { } some ? VirtioFeatures.Version1 | (VirtioFeatures)(ulong)some : Device.Features);
        _lease = _memory.Acquire();
        Ring = new RawSplitRing(_memory, 0, ringSize);
        VirtqueueSetup setup = new(
            0, (uint)ringSize, User(Ring.DescriptorTable), User(Ring.AvailableRing), User(Ring.UsedRing), 0, VirtioFeatures.Version1 | VirtioFeatures.IndirectDescriptors);
        _queue = DeviceVirtqueue.TryActivate(_memory, setup, null, out _, out string why) ?? throw new InvalidOperationException(why);
    }

    public IBlockStorage Storage { get; }

    public BlockDevice Device { get; }

    public RawSplitRing Ring { get; }

    public VirtqueueFault Fault => _queue.Fault;

    /// <summary>What goes on at the queue.</summary>
    public IQueueWork? Work => _queue.Work;

    /// <summary>Completes when nobody uses the memory any more, once the bench was disposed.</summary>
    public Task MemoryReleased => _memory.Released;

    /// <summary>Sends a request of header, readable data, writable data and status, each one buffer.</summary>
    public (VirtioBlkStatus Status, uint UsedLength) Send(VirtioBlkRequestType type, ulong sector, uint output = 0, uint input = 0)
    {
        PutHeader((uint)type, sector);
        List<ChainBuffer> chain = new() { new(HeaderAt, 16, false) };
        if (output != 0)
            chain.Add(new ChainBuffer(DataAt, output, false));
        if (input != 0)
            chain.Add(new ChainBuffer(DataAt, input, true));
        chain.Add(new ChainBuffer(StatusAt, 1, true));
        uint used = SendChain([.. chain]);
        return (Status, used);
    }

    public VirtioBlkStatus Status => (VirtioBlkStatus)Ring.Read<byte>(StatusAt);

    public void PutHeader(uint type, ulong sector)
    {
        Ring.Put(HeaderAt, type);
        Ring.Put(HeaderAt + 4, 0u);
        Ring.Put(HeaderAt + 8, sector);
    }

    /// <summary>Offers any chain and lets the device work.</summary>
    public uint SendChain(params ReadOnlySpan<ChainBuffer> buffers)
    {
        Ring.Put(StatusAt, NoStatus);
        Describe(buffers);
        ushort before = Ring.UsedIndex;
        Ring.Offer(0);
        Device.Process(_queue);
        _queue.Flush();
        AwaitAnswer(before);
        if (_queue.Fault != VirtqueueFault.None)
            return uint.MaxValue;
        Ring.UsedIndex.Should().Be((ushort)(before + 1), "every request comes back");
        (uint id, uint length) = Ring.UsedElement(before);
        id.Should().Be(0);
        return length;
    }

    /// <summary>Writes a chain to the descriptor table without offering it.</summary>
    public void Describe(params ReadOnlySpan<ChainBuffer> buffers)
    {
        for (int i = 0; i < buffers.Length; i++)
        {
            bool more = i + 1 < buffers.Length;
            ushort flags = (ushort)((buffers[i].Writable ? RawSplitRing.Write : 0) | (more ? RawSplitRing.Next : 0));
            Ring.Descriptor(i, buffers[i].At, buffers[i].Length, flags, (ushort)(i + 1));
        }
    }

    /// <summary>Offers the chain that was described a number of times, all at once, and gives the device one turn.</summary>
    /// <returns>Requests that came back.</returns>
    public int ServeTurn(int offered)
    {
        ushort before = Ring.UsedIndex;
        for (int i = 0; i < offered; i++)
            Ring.Offer(0);
        Device.Process(_queue);
        _queue.Flush();
        return (ushort)(Ring.UsedIndex - before);
    }

    /// <summary>What the kernel does takes its time.</summary>
    private void AwaitAnswer(ushort before)
    {
        while (_queue.InFlight != 0 && Ring.UsedIndex == before)
        {
            AwaitWork();
            _queue.Work!.Advance();
            _queue.Flush();
        }
    }

    /// <summary>Waits as a worker does, until what goes on needs a turn.</summary>
    public void AwaitWork()
    {
        if (_queue.Work is not { IsIdle: true, Completed: { } completed })
            return;
        completed.Wait(TimeSpan.FromSeconds(10)).Should().BeTrue("the kernel answers");
        completed.TryConsume();
    }

    public void PutData(ReadOnlySpan<byte> data, ulong at = DataAt) => _lease.TryCopyFrom(data, new GuestAddress(at)).Should().BeTrue();

    public byte[] GetData(int length, ulong at = DataAt)
    {
        byte[] data = new byte[length];
        _lease.TryCopyTo(new GuestAddress(at), data).Should().BeTrue();
        return data;
    }

    /// <summary>What a discard or write-zeroes request carries.</summary>
    public uint PutRanges(params ReadOnlySpan<VirtioBlkRange> ranges)
    {
        Span<byte> bytes = stackalloc byte[VirtioBlkRange.Size];
        for (int i = 0; i < ranges.Length; i++)
        {
            ranges[i].Write(bytes);
            PutData(bytes, DataAt + ((ulong)i * VirtioBlkRange.Size));
        }

        return (uint)(ranges.Length * VirtioBlkRange.Size);
    }

    public void Dispose()
    {
        _queue.Work?.Leave();
        _queue.Deactivate();
        Ring.Dispose();
        _lease.Dispose();
        _memory.Dispose();
        Storage.Dispose();
    }

    private static UserAddress User(GuestAddress address) => new(address.Value + GuestRam.UserOffset);
}

/// <summary>One buffer of a chain that a test makes.</summary>
internal readonly record struct ChainBuffer(ulong At, uint Length, bool Writable);
