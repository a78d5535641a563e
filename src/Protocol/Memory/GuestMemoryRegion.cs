using System.Globalization;

namespace Vhost.Protocol;

/// <summary>
/// Where a piece of <see cref="SharedMemory"/> appears: at which guest-physical address, and at which user address of the front-end
/// (vhost-user specification, "Memory region description"). Immutable.
/// </summary>
public sealed class GuestMemoryRegion
{
    /// <summary>Places memory in the guest's address space.</summary>
    /// <param name="guestAddress">Guest-physical address of the first byte; used in descriptors.</param>
    /// <param name="memory">The memory. Borrowed: every table that contains the region keeps the mapping alive by itself.</param>
    /// <param name="userAddress">Front-end user address of the first byte; used in messages. By default the address of the mapping in this process.</param>
    public GuestMemoryRegion(GuestAddress guestAddress, SharedMemory memory, UserAddress? userAddress = null)
    {
        ArgumentNullException.ThrowIfNull(memory);
        GuestAddress = guestAddress;
        Memory = memory;
        UserAddress = userAddress ?? new UserAddress((ulong)memory.Address);
    }

    /// <summary>Guest-physical address of the first byte.</summary>
    public GuestAddress GuestAddress { get; }

    /// <summary>Front-end user address of the first byte.</summary>
    public UserAddress UserAddress { get; }

    /// <summary>Bytes, at least 1.</summary>
    public ulong Size => Memory.Length;

    /// <summary>The memory behind the region.</summary>
    public SharedMemory Memory { get; }

    /// <summary>The region in words, for errors and logs.</summary>
    public override string ToString() =>
        string.Create(CultureInfo.InvariantCulture, $"region of 0x{Size:x} bytes at guest 0x{GuestAddress.Value:x}, user 0x{UserAddress.Value:x}");
}
