using Vhost.Protocol;

namespace Vhost.Backend.Tests;

/// <summary>
/// One region of guest memory. Its user address differs from its guest address by an odd-looking amount, so a missing translation cannot pass.
/// </summary>
internal sealed class TestGuest : IDisposable
{
    public const ulong Size = 1 << 20;
    private const ulong UserOffset = 0x5a5a_0000_0000;

    private readonly GuestMemoryLease _lease;

    public TestGuest(int slot = 0)
    {
        Shared = SharedMemory.CreateSealed($"test-{slot}", Size);
        GuestStart = new GuestAddress(0x1000_0000 + (ulong)slot * Size);
        UserStart = new UserAddress(GuestStart.Value + UserOffset);
        Table = GuestMemory.Create(new GuestMemoryRegion(GuestStart, Shared, UserStart));
        _lease = Table.Acquire();
    }

    public SharedMemory Shared { get; }

    public GuestMemory Table { get; }

    public GuestAddress GuestStart { get; }

    public UserAddress UserStart { get; }

    public VhostUserMemoryRegion Region => new(GuestStart, Size, UserStart, 0);

    public VhostUserSingleRegion Single => new(Region);

    public GuestAddress Guest(ulong offset) => new(GuestStart.Value + offset);

    public UserAddress User(ulong offset) => new(UserStart.Value + offset);

    public void Write<T>(ulong offset, T value)
        where T : unmanaged => _lease.TryWrite(Guest(offset), value).Should().BeTrue();

    public T Read<T>(ulong offset)
        where T : unmanaged
    {
        _lease.TryRead(Guest(offset), out T value).Should().BeTrue();
        return value;
    }

    public void WriteBytes(ulong offset, ReadOnlySpan<byte> bytes) => _lease.TryCopyFrom(bytes, Guest(offset)).Should().BeTrue();

    public byte[] ReadBytes(ulong offset, int count)
    {
        byte[] bytes = new byte[count];
        _lease.TryCopyTo(Guest(offset), bytes).Should().BeTrue();
        return bytes;
    }

    public void Dispose()
    {
        _lease.Dispose();
        Table.Dispose();
        Shared.Dispose();
    }
}
