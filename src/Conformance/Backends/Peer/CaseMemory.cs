using System.Runtime.InteropServices;
using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>A part of <see cref="CaseMemory"/>.</summary>
/// <param name="At">Its guest address.</param>
/// <param name="Size">Bytes.</param>
/// <param name="Offset">Where it begins in its memory file.</param>
internal readonly record struct CaseRegion(ulong At, ulong Size, ulong Offset = 0);

/// <summary>The memory of the guest that a case plays. User addresses are far from guest addresses, so that a peer which mixes them up cannot pass.</summary>
internal sealed class CaseMemory : IDisposable
{
    /// <summary>What is added to a guest address to get the user address.</summary>
    public const ulong UserOffset = 0x5A00_0000_0000;

    /// <summary>Rings begin here, each in <see cref="RingRoom"/> bytes of its own; buffers are behind those of sixteen rings.</summary>
    public const ulong RingRoom = 0x1_0000;

    /// <summary>How much memory a case has that asks for no other.</summary>
    public const ulong StandardSize = 8 << 20;

    /// <summary>A guest address at which no case has memory.</summary>
    public const ulong Nowhere = 1UL << 40;

    private const ulong FirstBuffer = 16 * RingRoom;

    private readonly GuestMemory _memory;
    private readonly GuestMemoryLease _lease;
    private readonly List<GuestMemoryRegion> _regions = [];
    private ulong _next;
    private bool _tight;

    /// <summary>One region at guest address 0.</summary>
    public CaseMemory()
        : this(new CaseRegion(0, StandardSize))
    {
    }

    public CaseMemory(params ReadOnlySpan<CaseRegion> regions)
    {
        foreach (CaseRegion region in regions)
            _regions.Add(new(new GuestAddress(region.At), Create(region), new UserAddress(region.At + UserOffset)));
        _memory = GuestMemory.Create([.. _regions]);
        _lease = _memory.Acquire();
        RingsAt = regions[0].At;
        _next = regions[0].At + FirstBuffer;
    }

    /// <summary>Where the places of the rings begin; the first region unless a case says otherwise.</summary>
    public ulong RingsAt { get; set; }

    /// <summary>The regions as messages name them.</summary>
    public IReadOnlyList<VhostUserMemoryRegion> Regions =>
        [.. _regions.Select(static region => new VhostUserMemoryRegion(region.GuestAddress, region.Size, region.UserAddress, region.Memory.DescriptorOffset))];

    public SafeHandle[] Descriptors => [.. _regions.Select(static region => region.Memory.Descriptor)];

    /// <summary>The payload of SET_MEM_TABLE.</summary>
    public byte[] Table => TableOf([.. Regions]);

    /// <summary>The payload of SET_MEM_TABLE for any regions.</summary>
    public static byte[] TableOf(params VhostUserMemoryRegion[] regions)
    {
        byte[] payload = new byte[VhostUserMemoryTable.EncodedSizeOf(regions.Length)];
        VhostUserMemoryTable.Write(regions, payload);
        return payload;
    }

    /// <summary>Buffers are handed out from here on.</summary>
    public void AllocateFrom(ulong address) => _next = address;

    /// <summary>Room for a buffer in the first region, not handed out before, filled with zeroes.</summary>
    public ulong Allocate(int length, int alignment = 64)
    {
        ulong at = _tight ? _next : (_next + (ulong)alignment - 1) / (ulong)alignment * (ulong)alignment;
        _next = at + (ulong)length;
        return at;
    }

    /// <summary>Whether a stretch is all memory, if need be of several regions that touch.</summary>
    public bool Has(ulong address, ulong length)
    {
        ulong end = address + length;
        if (end < address)
            return false;
        for (ulong at = address; at < end;)
        {
            if (_regions.Find(region => at >= region.GuestAddress.Value && at - region.GuestAddress.Value < region.Size) is not { } holding)
                return false;
            at = holding.GuestAddress.Value + holding.Size;
        }

        return true;
    }

    /// <summary>From here on buffers lie one behind the other without gaps, whatever alignment they ask for.</summary>
    public void PackFrom(ulong at) => (_next, _tight) = (at, true);

    public T Read<T>(ulong address)
        where T : unmanaged =>
        _lease.TryRead(new GuestAddress(address), out T value) ? value : throw Missing(address);

    public void Write<T>(ulong address, T value)
        where T : unmanaged
    {
        if (!_lease.TryWrite(new GuestAddress(address), value))
            throw Missing(address);
    }

    public byte[] ReadBytes(ulong address, int length)
    {
        byte[] bytes = new byte[length];
        return _lease.TryCopyTo(new GuestAddress(address), bytes) ? bytes : throw Missing(address);
    }

    public void WriteBytes(ulong address, ReadOnlySpan<byte> bytes)
    {
        if (!_lease.TryCopyFrom(bytes, new GuestAddress(address)))
            throw Missing(address);
    }

    public void Fill(ulong address, int length, byte value)
    {
        byte[] bytes = new byte[length];
        bytes.AsSpan().Fill(value);
        WriteBytes(address, bytes);
    }

    public void Dispose()
    {
        _lease.Dispose();
        _memory.Dispose();
        foreach (GuestMemoryRegion region in _regions)
            region.Memory.Dispose();
    }

    // Sealed: whoever gets the file cannot take its pages away from this process.
    private static SharedMemory Create(CaseRegion region)
    {
        try
        {
            SharedMemory file = SharedMemory.CreateSealed("conformance", region.Offset + region.Size);
            if (region.Offset == 0)
                return file;
            using (file)
                return SharedMemory.Map(Libc.Duplicate(file.Descriptor), region.Offset, region.Size, requireSealed: true);
        }
        catch (LinuxException failure)
        {
            throw Expect.Skipped($"the suite cannot make memory of {region.Size} bytes: {failure.Message}");
        }
    }

    // A mistake of the case, not of the peer, and none that may hide as a skipped one.
    private static InvalidOperationException Missing(ulong address) => new($"The case has no memory at 0x{address:x}.");
}
