using System.Buffers.Binary;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>One ring, its driver and its in-flight area, and one device's half after the other: the one before ends where it stands.</summary>
internal sealed class SuccessionRing : IDisposable
{
    private const ulong Data = 0x10_0000;

    private readonly GuestMemory _memory = GuestRam.Create(0x20_0000);
    private readonly VirtioFeatures _features;
    private readonly ushort _size;
    private readonly DriverVirtqueue _driver;
    private readonly EventNotifier _kick = new();
    private readonly InflightArea _area;
    private readonly SharedMemory _areaMemory;
    private readonly List<DeviceVirtqueue> _devices = [];
    private readonly Dictionary<ulong, ushort> _heads = [];
    private ulong _next;

    internal SuccessionRing(ushort size, VirtioFeatures features)
    {
        (_size, _features) = (size, features);
        _driver = DriverVirtqueue.Create(_memory, default, new DriverVirtqueueOptions { Size = size }, features);
        ulong bytes = InflightLayout.PartSize(size, IsPacked);
        _areaMemory = SharedMemory.CreateSealed("test-inflight", bytes);
        _area = new InflightArea(_areaMemory, new VhostUserInflight(bytes, 0, 1, size));
        Succeed();
    }

    internal DeviceVirtqueue Device => _devices[^1];

    private VirtqueueSetup Setup
    {
        get
        {
            VringSettings described = _driver.Describe(0, _kick, call: null);
            return new VirtqueueSetup(
                0, _size, User(described.DescriptorTable), User(described.AvailableRing), User(described.UsedRing), IsPacked ? 0x8000_8000 : 0, _features);
        }
    }

    private bool IsPacked => (_features & VirtioFeatures.RingPacked) != 0;

    /// <summary>The next one begins. What the one before had staged or fetched is lost with it, as with its process.</summary>
    internal void Succeed()
    {
        VirtqueueSetup setup = Setup;
        _devices.Add(DeviceVirtqueue.TryActivate(_memory, setup, null, _area.Open(setup), out _, out string why) ?? throw new InvalidOperationException(why));
        _heads.Clear();
    }

    /// <summary>Makes requests of one buffer each, which are numbered from 0.</summary>
    internal void Submit(int count)
    {
        for (; count > 0; count--)
        {
            GuestAddress at = new(Data + (64 * _next));
            using GuestMemoryLease lease = _memory.Acquire();
            lease.TryWrite(at, _next).Should().BeTrue();
            _driver.TrySubmit([new GuestBuffer(at, 8)], [], _next++).Should().BeTrue();
        }

        _driver.Publish();
    }

    /// <summary>Gives the buffer of a request that was taken an address that is in no memory, where the next device will look for it.</summary>
    internal void Spoil(ulong token)
    {
        const ulong Nowhere = 0xFFFF_FFFF_0000;
        ushort head = _heads[token];
        if (IsPacked)
        {
            ChangeEntry(token, (part, entry) => part.Write(entry + InflightLayout.PackedAddressAt, Nowhere));
            return;
        }

        using GuestMemoryLease lease = _memory.Acquire();
        lease.TryWrite(new GuestAddress(_driver.Describe(0, _kick, call: null).DescriptorTable.Value + (16UL * head)), Nowhere).Should().BeTrue();
    }

    internal void ChangeArea(Action<InflightPart> change)
    {
        using InflightPart part = _area.Open(Setup)!;
        change(part);
    }

    /// <summary>Changes the entry of a request that was taken, in the area of a packed ring.</summary>
    internal void ChangeEntry(ulong token, Action<InflightPart, ulong> change)
    {
        using InflightPart part = _area.Open(Setup)!;
        for (uint i = 0; i < _size; i++)
        {
            ulong entry = InflightLayout.PackedAt(i);
            if (part.Read<byte>(entry + InflightLayout.MarkAt) == 1 && part.Read<ushort>(entry + InflightLayout.PackedIdAt) == _heads[token])
                change(part, entry);
        }
    }

    /// <summary>The device takes at most so many.</summary>
    internal ulong[] Take(int count)
    {
        List<ulong> taken = [];
        byte[] token = new byte[8];
        while (taken.Count < count && Device.TryPop(out DescriptorChain chain))
        {
            chain.Readable.CopyTo(token).Should().Be(8);
            taken.Add(BinaryPrimitives.ReadUInt64LittleEndian(token));
            _heads.Add(taken[^1], chain.Head);
        }

        return [.. taken];
    }

    internal void Complete(params ReadOnlySpan<ulong> tokens)
    {
        foreach (ulong token in tokens)
        {
            _heads.Remove(token, out ushort head).Should().BeTrue();
            Device.Complete(head, 0);
        }
    }

    /// <summary>The device shows what it has completed, and the driver looks.</summary>
    internal ulong[] Shown()
    {
        Device.Flush();
        DriverCompletion[] done = new DriverCompletion[_size];
        int count = _driver.Drain(done);
        _driver.Fault.Should().Be(VirtqueueFault.None, _driver.FaultDetail);
        return [.. done.Take(count).Select(static one => one.Token)];
    }

    public void Dispose()
    {
        foreach (DeviceVirtqueue device in _devices)
            device.Deactivate();
        _driver.Dispose();
        _area.Dispose();
        _areaMemory.Dispose();
        _memory.Dispose();
        _kick.Dispose();
    }

    private static UserAddress User(GuestAddress address) => new(address.Value + GuestRam.UserOffset);
}
