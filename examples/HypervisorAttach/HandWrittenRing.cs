using Vhost.Protocol;

namespace HypervisorAttach;

/// <summary>A split ring as a guest's driver sees it (virtio 1.2, 2.7): three tables in RAM, written word by word, one request at a time.</summary>
internal sealed class HandWrittenRing : IDisposable
{
    public const ushort Size = 8;

    private const ushort Next = 1;
    private const ushort DeviceWrites = 2;
    private static readonly TimeSpan _patience = TimeSpan.FromSeconds(10);

    private readonly GuestMemoryLease _ram;
    private readonly EventNotifier _kick;
    private readonly EventNotifier _call;
    private readonly ulong _header;
    private readonly ulong _status;
    private ushort _index;

    public HandWrittenRing(GuestMemory ram, ulong at, EventNotifier kick, EventNotifier call)
    {
        _ram = ram.Acquire();
        _kick = kick;
        _call = call;
        DescriptorTable = new GuestAddress(at);
        AvailableRing = new GuestAddress(at + 0x1000);
        UsedRing = new GuestAddress(at + 0x2000);
        _header = at + 0x3000;
        _status = at + 0x3800;
    }

    public GuestAddress DescriptorTable { get; }

    public GuestAddress AvailableRing { get; }

    public GuestAddress UsedRing { get; }

    /// <summary>Puts one request on the ring, kicks, and waits for the call.</summary>
    public void Run(VirtioBlkRequestType type, ulong offset, ulong data, uint length)
    {
        Put(_header, new VirtioBlkRequestHeader(type, 0, offset / VirtioBlkRequestHeader.SectorSize));
        Put(_status, (byte)0xFF);
        Descriptor(0, _header, VirtioBlkRequestHeader.Size, Next);
        Descriptor(1, data, length, (ushort)(Next | (type == VirtioBlkRequestType.In ? DeviceWrites : 0)));
        Descriptor(2, _status, 1, DeviceWrites);
        Put(AvailableRing.Value + 4 + (2UL * (uint)(_index % Size)), (ushort)0);
        Interlocked.MemoryBarrier(); // the entry before the index
        Put(AvailableRing.Value + 2, ++_index);
        _kick.Signal();

        while (Get<ushort>(UsedRing.Value + 2) != _index)
        {
            if (!_call.Wait(_patience))
                throw new TimeoutException("The device does not answer.");
            _call.TryConsume();
        }

        Interlocked.MemoryBarrier(); // the index before what it stands for
        byte status = Get<byte>(_status);
        if (status != 0)
            throw new IOException($"{type} at {offset}: status {status}");
    }

    public void Dispose() => _ram.Dispose();

    private void Descriptor(uint index, ulong address, uint length, ushort flags)
    {
        ulong at = DescriptorTable.Value + (16 * index);
        Put(at, address);
        Put(at + 8, length);
        Put(at + 12, flags);
        Put(at + 14, (ushort)(index + 1));
    }

    private void Put<T>(ulong at, T value)
        where T : unmanaged => _ram.TryWrite(new GuestAddress(at), value);

    private T Get<T>(ulong at)
        where T : unmanaged => _ram.TryRead(new GuestAddress(at), out T value) ? value : throw new InvalidOperationException("not mapped");
}
