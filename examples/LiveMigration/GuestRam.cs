using Vhost.Protocol;

namespace LiveMigration;

/// <summary>The guest's memory on one host. What the guest writes is logged here, as a hypervisor does with its processors' writes; the back-end logs its own. Whoever reads or writes what is still under way (postcopy) waits for it.</summary>
internal sealed class GuestRam : IDisposable
{
    public const ulong Size = 16 << 20;

    private readonly SharedMemory _file = SharedMemory.CreateSealed("guest", Size);
    private readonly GuestMemoryLease _lease;

    public GuestRam()
    {
        Memory = GuestMemory.Create(new GuestMemoryRegion(default, _file));
        _lease = Memory.Acquire();
    }

    public GuestMemory Memory { get; }

    public GuestMemoryRegion Region => Memory.Regions[0];

    /// <summary>What the guest itself has written.</summary>
    public DirtyLog Written { get; } = DirtyLog.Create(new GuestAddress(Size - 1));

    public T Read<T>(ulong at)
        where T : unmanaged => _lease.TryRead(new GuestAddress(at), out T value) ? value : throw new ArgumentOutOfRangeException(nameof(at));

    public void Read(ulong at, Span<byte> bytes)
    {
        if (!_lease.TryCopyTo(new GuestAddress(at), bytes))
            throw new ArgumentOutOfRangeException(nameof(at));
    }

    public void Write<T>(ulong at, T value)
        where T : unmanaged
    {
        if (!_lease.TryWrite(new GuestAddress(at), value))
            throw new ArgumentOutOfRangeException(nameof(at));
        Written.Mark(new GuestAddress(at), 8); // behind the write, so that whoever finds the mark finds what was written
    }

    public void Write(ulong at, ReadOnlySpan<byte> bytes)
    {
        if (!_lease.TryCopyFrom(bytes, new GuestAddress(at)))
            throw new ArgumentOutOfRangeException(nameof(at));
        Written.Mark(new GuestAddress(at), (ulong)bytes.Length);
    }

    /// <summary>Copies here from the memory of another host, over whatever lies between.</summary>
    public void CopyFrom(GuestRam other, ulong at, ulong length)
    {
        Span<byte> piece = stackalloc byte[4096];
        for (ulong done = 0; done < length; done += (ulong)piece.Length)
        {
            Span<byte> bytes = piece[..(int)Math.Min((ulong)piece.Length, length - done)];
            other.Read(at + done, bytes);
            if (!_lease.TryCopyFrom(bytes, new GuestAddress(at + done)))
                throw new ArgumentOutOfRangeException(nameof(at));
        }
    }

    public void Dispose()
    {
        _lease.Dispose();
        Memory.Dispose();
        _file.Dispose();
        Written.Dispose();
    }
}
