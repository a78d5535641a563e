using Vhost.Protocol;

namespace Vhost.Tests.Support;

/// <summary>Guest memory for tests: user addresses are far from guest addresses, so that a forgotten translation cannot pass.</summary>
public static class GuestRam
{
    /// <summary>What is added to a guest address to get the user address.</summary>
    public const ulong UserOffset = 0x5A00_0000_0000;

    public static GuestMemory Create(ulong size, ulong at = 0) => Create((at, size));

    public static GuestMemory Create(params ReadOnlySpan<(ulong At, ulong Size)> regions)
    {
        List<GuestMemoryRegion> list = new();
        foreach ((ulong at, ulong size) in regions)
        {
            list.Add(Region(at, size));
        }

        GuestMemory memory = GuestMemory.Create([.. list]);
        foreach (GuestMemoryRegion region in list)
        {
            region.Memory.Dispose(); // the table holds it from here on
        }

        return memory;
    }

    public static GuestMemoryRegion Region(ulong at, ulong size) =>
        new(new GuestAddress(at), SharedMemory.CreateSealed("test-ram", size), new UserAddress(at + UserOffset));
}
