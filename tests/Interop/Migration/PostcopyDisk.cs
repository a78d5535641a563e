using System.Buffers.Binary;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Migration;

/// <summary>A guest with requests for a disk on its ring that nobody has looked at yet, and what becomes of its memory and the disk when they are carried out.</summary>
internal sealed class PostcopyDisk : IDisposable
{
    public const int Requests = 60;
    private const ulong RingMemory = 128 << 10;
    private const ulong DataMemory = 1 << 20;
    public const ulong DataAt = 0x4000_0000;
    private const int Sectors = 4096;
    private const ushort Entries = 512;

    private readonly Random _random;
    private readonly VirtioFeatures _features;
    private readonly DriverVirtqueue _driver;
    private readonly EventNotifier _kick = new();
    private ulong _next = DataAt;

    public PostcopyDisk(VirtioFeatures features, int seed)
    {
        _random = new Random(seed);
        _features = features;
        Source = NewMemory();
        byte[] noise = new byte[DataMemory];
        _random.NextBytes(noise);
        using GuestMemoryLease lease = Source.Acquire();
        lease.TryCopyFrom(noise, new GuestAddress(DataAt)).Should().BeTrue();
        int indirect = (features & VirtioFeatures.IndirectDescriptors) != 0 ? 8 : 0;
        _driver = DriverVirtqueue.Create(Source, default, new DriverVirtqueueOptions { Size = Entries, IndirectBuffers = indirect }, features);
        for (int request = 0; request < Requests; request++)
            Submit(lease, (ulong)request);
        _driver.Publish();
    }

    public GuestMemory Source { get; }

    /// <summary>What is on the disk at first.</summary>
    public static byte[] Contents
    {
        get
        {
            byte[] bytes = new byte[Sectors * 512];
            new Random(9).NextBytes(bytes);
            return bytes;
        }
    }

    public static GuestMemory NewMemory() => GuestRam.Create((0UL, RingMemory), (DataAt, DataMemory));

    /// <summary>All of a guest's memory but the words with which the device asks for kicks: those depend on when it was stopped.</summary>
    public byte[] OutcomeIn(GuestMemory memory)
    {
        byte[] bytes = BytesOf(memory);
        int used = (int)_driver.Describe(0, _kick, call: null).UsedRing.Value;
        bytes.AsSpan(used, (_features & VirtioFeatures.RingPacked) != 0 ? 4 : 2).Clear();
        if ((_features & VirtioFeatures.RingPacked) == 0)
            bytes.AsSpan(used + 4 + (8 * Entries), 2).Clear();
        return bytes;
    }

    private static byte[] BytesOf(GuestMemory memory)
    {
        byte[] bytes = new byte[RingMemory + DataMemory];
        using GuestMemoryLease lease = memory.Acquire();
        lease.TryCopyTo(default, bytes.AsSpan(0, (int)RingMemory)).Should().BeTrue();
        lease.TryCopyTo(new GuestAddress(DataAt), bytes.AsSpan((int)RingMemory)).Should().BeTrue();
        return bytes;
    }

    public BlockDevice NewDisk(out MemoryStorage storage)
    {
        storage = new MemoryStorage(Sectors * 512);
        DiskBytes(storage, write: true, Contents);
        return new BlockDevice(storage);
    }

    /// <summary>The ring as it was before anybody looked at it.</summary>
    public VringSettings Ring(EventNotifier kick) => _driver.Describe(0, kick, call: null) with
    {
        Base = (_features & VirtioFeatures.RingPacked) != 0 ? VringBase.FreshPacked : VringBase.FreshSplit,
    };

    /// <summary>What memory and disk are when a back-end carries the requests out with all memory there.</summary>
    public async Task<(byte[] Memory, byte[] Disk)> ExpectedAsync()
    {
        using GuestMemory memory = NewMemory();
        CopyTo(memory);
        BlockDevice disk = NewDisk(out MemoryStorage storage);
        await using PostcopyPair pair = await PostcopyPair.StartAsync(disk, _features);
        await pair.Frontend.SetMemoryAsync(memory).InTime();
        FrontendVring ring = await pair.Frontend.StartVringAsync(Ring(_kick)).InTime();
        await AllDoneAsync(disk);
        await ring.StopAsync().InTime();
        return (OutcomeIn(memory), BytesOf(storage));
    }

    public void CopyTo(GuestMemory memory)
    {
        using GuestMemoryLease lease = memory.Acquire();
        byte[] bytes = BytesOf(Source);
        lease.TryCopyFrom(bytes.AsSpan(0, (int)RingMemory), default).Should().BeTrue();
        lease.TryCopyFrom(bytes.AsSpan((int)RingMemory), new GuestAddress(DataAt)).Should().BeTrue();
    }

    public static Task AllDoneAsync(BlockDevice disk) =>
        Eventually.TrueAsync(() => disk.Statistics.Served == Requests);

    public static byte[] BytesOf(MemoryStorage storage) => DiskBytes(storage, write: false, []);

    public void Dispose()
    {
        _driver.Dispose();
        Source.Dispose();
        _kick.Dispose();
    }

    private static byte[] DiskBytes(MemoryStorage storage, bool write, byte[] bytes)
    {
        using GuestMemory memory = GuestRam.Create(Sectors * 512);
        using GuestMemoryLease lease = memory.Acquire();
        RegionWindow window = new(memory);
        window.TryResolve(0, Sectors * 512, out nint address, out _).Should().BeTrue();
        GuestBuffers all = new([new BufferSegment(address, Sectors * 512)], Sectors * 512);
        if (write)
        {
            lease.TryCopyFrom(bytes, default).Should().BeTrue();
            storage.Write(0, all);
            return bytes;
        }

        storage.Read(0, all);
        bytes = new byte[Sectors * 512];
        lease.TryCopyTo(default, bytes).Should().BeTrue();
        return bytes;
    }

    private void Submit(GuestMemoryLease lease, ulong token)
    {
        bool writes = _random.Next(2) == 0;
        int sectors = _random.Next(1, 20);
        byte[] header = new byte[16];
        BinaryPrimitives.WriteUInt32LittleEndian(header, writes ? 1u : 0u);
        BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(8), (ulong)_random.Next(Sectors - sectors));
        GuestBuffer head = Take(16);
        lease.TryCopyFrom(header, head.Address).Should().BeTrue();
        List<GuestBuffer> data = [];
        for (int left = sectors * 512; left > 0;)
        {
            int piece = data.Count == 3 ? left : _random.Next(1, left + 1);
            data.Add(Take((uint)piece));
            left -= piece;
        }

        GuestBuffer status = Take(1);
        bool submitted = writes ? _driver.TrySubmit([head, .. data], [status], token) : _driver.TrySubmit([head], [.. data, status], token);
        submitted.Should().BeTrue();
    }

    /// <summary>Memory of its own, with gaps, so that pages are shared by some and crossed by others.</summary>
    private GuestBuffer Take(uint length)
    {
        ulong at = _next + (ulong)_random.Next(1500);
        _next = at + length;
        (_next - DataAt).Should().BeLessThan(DataMemory);
        return new GuestBuffer(new GuestAddress(at), length);
    }
}
