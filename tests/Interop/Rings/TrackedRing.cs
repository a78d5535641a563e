using System.Buffers.Binary;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>
/// One ring with both halves on it and an in-flight area. After every store into the area the back-end could have been killed: a copy of all that outlives it is given to
/// another device's half, which must hand out every request that the driver still waits for, once, in the order in which they were made.
/// </summary>
internal sealed class TrackedRing : IDisposable
{
    private const ulong Data = 0x10_0000;
    private const int Slots = 256;

    /// <summary>A back-end that ends while it looks at what the one before left is followed by a third one.</summary>
    private const int MostDeaths = 2;

    private readonly VirtioFeatures _features;
    private readonly DriverVirtqueueOptions _options;
    private readonly Random _random;
    private readonly GuestMemoryRegion _data = GuestRam.Region(Data, 64 * Slots);
    private readonly Generation[] _generations;
    private readonly DriverVirtqueue _driver;
    private readonly DeviceVirtqueue _device;
    private readonly EventNotifier _kick = new();
    private readonly EventNotifier _call = new();
    private readonly DriverCompletion[] _completions = new DriverCompletion[8];

    /// <summary>What the driver waits for, in the order in which it was shown.</summary>
    private readonly List<ulong> _open = [];
    private readonly List<(ushort Head, ulong Token)> _taken = [];
    private readonly List<ulong> _completed = [];
    private byte[]? _beforeFlush;

    /// <summary>The driver has used the room that this batch gave it.</summary>
    private bool _hasRefilled;
    private ulong _next;

    internal TrackedRing(int size, VirtioFeatures features, int indirect, int seed)
    {
        _features = features;
        _random = new Random(seed);
        _options = new DriverVirtqueueOptions { Size = (ushort)size, IndirectBuffers = indirect };
        _generations = [.. Enumerable.Range(0, MostDeaths + 1).Select(_ => new Generation(RingSize, AreaSize, _data))];
        _driver = DriverVirtqueue.Create(_generations[0].Memory, default, _options, features);
        _device = Activate(0);
    }

    /// <summary>How many back-ends have ended.</summary>
    internal int Deaths { get; private set; }

    /// <summary>Back-ends only end when they are told to.</summary>
    internal bool DiesQuietly { get; set; }

    private ulong RingSize => DriverVirtqueue.SizeInBytes(_options, _features);

    private bool IsPacked => (_features & VirtioFeatures.RingPacked) != 0;

    private ulong AreaSize => InflightLayout.PartSize(_options.Size, IsPacked);

    internal void Run(int calls)
    {
        for (int i = 0; i < calls; i++)
        {
            switch (_random.Next(6))
            {
                case 0: Submit(); break;
                case 1: Take(); break;
                case 2: TakeAndGiveBack(); break;
                case 3: Complete(); break;
                case 4: Flush(); break;
                default: Drain(); break;
            }
        }
    }

    /// <summary>Ends the back-end, changes what it left, and lets the next one serve whatever that is.</summary>
    /// <returns>How many requests the next one found in the area.</returns>
    internal int ServeAfter(Action<byte[]> change)
    {
        _generations[1].Take(_generations[0], RingSize, AreaSize, change);
        DeviceVirtqueue next = Activate(1);
        int left = next.LeftByLast;
        left.Should().BeLessThanOrEqualTo(_options.Size);
        HashSet<ushort> heads = [];
        int taken = 0;
        for (; next.TryPop(out DescriptorChain chain); taken++)
        {
            taken.Should().BeLessThan(2 * _options.Size);
            chain.Head.Should().BeLessThan(_options.Size);
            (heads.Add(chain.Head) || taken >= left - next.LeftRefused).Should().BeTrue("what was left is handed out once");
            next.Complete(chain, 0);
        }

        next.Flush();
        next.InFlight.Should().Be(0);
        next.Deactivate();
        DeviceVirtqueue last = Activate(1);
        last.LeftByLast.Should().Be(0, "all of it was served, whatever it was");
        last.Deactivate();
        return left;
    }

    public void Dispose()
    {
        _device.Deactivate();
        _driver.Dispose();
        foreach (Generation generation in _generations)
            generation.Dispose();
        _data.Memory.Dispose();
        _kick.Dispose();
        _call.Dispose();
    }

    private void Submit()
    {
        for (int count = _random.Next(1, 4); count > 0; count--)
        {
            ulong place = Data + (64 * (_next % Slots));
            if (!_driver.TrySubmit([new GuestBuffer(new GuestAddress(place), 8)], _random.Next(2) == 0 ? [] : [new GuestBuffer(new GuestAddress(place + 8), 4)], _next))
                break;
            byte[] token = new byte[8];
            BinaryPrimitives.WriteUInt64LittleEndian(token, _next);
            using GuestMemoryLease lease = _generations[0].Memory.Acquire();
            lease.TryCopyFrom(token, new GuestAddress(place)).Should().BeTrue();
            _open.Add(_next++);
        }

        _driver.Publish();
    }

    private void Take()
    {
        for (int count = _random.Next(1, 4); count > 0 && _device.TryPop(out DescriptorChain chain); count--)
            _taken.Add((chain.Head, TokenOf(chain.Readable)));
    }

    private void TakeAndGiveBack()
    {
        ChainBurst burst = _device.TakeBurst(4);
        int back = _random.Next(0, burst.Count + 1);
        for (int i = 0; i < burst.Count - back; i++)
            _taken.Add((burst[i].Head, TokenOf(burst[i].Readable)));
        if (_random.Next(2) == 0)
        {
            Complete();
            Flush(); // which frees entries while some are out that are given back
        }

        _device.GiveBack(back);
    }

    private void Complete()
    {
        if (_taken.Count == 0)
            return;
        int which = _random.Next(_taken.Count);
        (ushort head, ulong token) = _taken[which];
        _taken.RemoveAt(which);
        _completed.Add(token);
        _device.Complete(head, 0);
    }

    private void Flush()
    {
        int inFlight = _device.InFlight;
        _beforeFlush = _generations[0].Ring(RingSize);
        _hasRefilled = false;
        _device.Flush();
        _beforeFlush = null;
        _hasRefilled = false;
        foreach (ulong shown in Shown(inFlight - _device.InFlight))
            _open.Remove(shown).Should().BeTrue();
    }

    /// <summary>In order the driver is shown only what has nothing open before it.</summary>
    private List<ulong> Shown(int count)
    {
        List<ulong> shown = (_features & VirtioFeatures.InOrder) == 0 ? [.. _completed] : [.. _open.TakeWhile(_completed.Contains)];
        shown.Should().HaveCount(count);
        _completed.RemoveAll(shown.Contains);
        return shown;
    }

    private void Drain()
    {
        while (_driver.Drain(_completions) > 0)
        {
            // Only room for further requests is wanted.
        }
    }

    private DeviceVirtqueue Activate(int generation)
    {
        VringSettings described = _driver.Describe(0, _kick, _call);
        VirtqueueSetup setup = new(
            0, _options.Size, User(described.DescriptorTable), User(described.AvailableRing), User(described.UsedRing), IsPacked ? 0x8000_8000 : 0, _features);
        using InflightArea area = new(_generations[generation].Area, new VhostUserInflight(AreaSize, 0, 1, _options.Size));
        area.WhyNot(setup).Should().BeNull();
        InflightPart part = area.Open(setup)!;
        part.Stored = () => Die(generation);
        return DeviceVirtqueue.TryActivate(_generations[generation].Memory, setup, null, part, out _, out string why) ?? throw new InvalidOperationException(why);
    }

    private void Die(int generation)
    {
        if (generation == MostDeaths || DiesQuietly)
            return;
        Deaths++;
        bool published = _hasRefilled || (_beforeFlush is not null && !_beforeFlush.AsSpan().SequenceEqual(_generations[0].Ring(RingSize)));
        if (published && !_hasRefilled)
        {
            // The driver is quicker than the death.
            _hasRefilled = true;
            Drain();
            Submit();
        }

        _generations[generation + 1].Take(_generations[generation], RingSize, AreaSize);
        List<ulong> expected = [.. _open];
        if (published)
            expected.RemoveAll((_features & VirtioFeatures.InOrder) == 0 ? _completed.Contains : _open.TakeWhile(_completed.Contains).ToHashSet().Contains);

        DeviceVirtqueue next = Activate(generation + 1);
        List<ulong> got = [];
        List<ushort> heads = [];
        while (next.TryPop(out DescriptorChain chain))
        {
            got.Add(TokenOf(chain.Readable));
            heads.Add(chain.Head);
        }

        next.Fault.Should().Be(VirtqueueFault.None, next.FaultDetail);
        got.Should().Equal(expected);
        Answer(next, heads, generation + 1);
    }

    /// <summary>The next one lives, and leaves nothing.</summary>
    private void Answer(DeviceVirtqueue device, List<ushort> heads, int generation)
    {
        bool before = DiesQuietly;
        DiesQuietly = true;
        foreach (ushort head in heads)
            device.Complete(head, 0);
        device.Flush();
        device.InFlight.Should().Be(0);
        device.Deactivate();
        DeviceVirtqueue last = Activate(generation);
        last.LeftByLast.Should().Be(0);
        last.TryPop(out _).Should().BeFalse("everything was served");
        last.Deactivate();
        DiesQuietly = before;
    }

    private static ulong TokenOf(GuestBuffers buffers)
    {
        byte[] token = new byte[8];
        buffers.CopyTo(token).Should().Be(8);
        return BinaryPrimitives.ReadUInt64LittleEndian(token);
    }

    private static UserAddress User(GuestAddress address) => new(address.Value + GuestRam.UserOffset);

    /// <summary>What one back-end sees: the guest's memory with the ring in it, and the area. The data is the same for all.</summary>
    private sealed class Generation : IDisposable
    {
        private readonly GuestMemory _areaTable;

        internal Generation(ulong ringSize, ulong areaSize, GuestMemoryRegion data)
        {
            GuestMemoryRegion ring = GuestRam.Region(0, ringSize);
            Memory = GuestMemory.Create(ring, data);
            ring.Memory.Dispose();
            Area = SharedMemory.CreateSealed("test-inflight", areaSize);
            _areaTable = GuestMemory.Create(new GuestMemoryRegion(default, Area, default));
        }

        internal GuestMemory Memory { get; }

        internal SharedMemory Area { get; }

        internal byte[] Ring(ulong size) => Read(Memory, size);

        internal void Take(Generation before, ulong ringSize, ulong areaSize, Action<byte[]>? change = null)
        {
            byte[] area = Read(before._areaTable, areaSize);
            change?.Invoke(area);
            Write(Memory, Read(before.Memory, ringSize));
            Write(_areaTable, area);
        }

        public void Dispose()
        {
            Memory.Dispose();
            _areaTable.Dispose();
            Area.Dispose();
        }

        private static byte[] Read(GuestMemory memory, ulong size)
        {
            using GuestMemoryLease lease = memory.Acquire();
            byte[] bytes = new byte[size];
            lease.TryCopyTo(default, bytes).Should().BeTrue();
            return bytes;
        }

        private static void Write(GuestMemory memory, byte[] bytes)
        {
            using GuestMemoryLease lease = memory.Acquire();
            lease.TryCopyFrom(bytes, default).Should().BeTrue();
        }
    }
}
