using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>One region as the back-end was told it, and the memory behind it.</summary>
internal readonly record struct PublishedRegion(VhostUserMemoryRegion Wire, SharedMemory Memory)
{
    /// <summary>The wire form of a region. With GPA_ADDRESSES every address the front-end sends is a guest physical one.</summary>
    public static PublishedRegion Of(GuestMemoryRegion region, bool guestAddressesOnly)
    {
        UserAddress user = guestAddressesOnly ? new UserAddress(region.GuestAddress.Value) : region.UserAddress;
        return new PublishedRegion(new VhostUserMemoryRegion(region.GuestAddress, region.Size, user, region.Memory.DescriptorOffset), region.Memory);
    }

    public bool TryTranslate(GuestAddress address, ulong length, out UserAddress user)
    {
        user = default;
        ulong start = Wire.GuestAddress.Value;
        if (address.Value < start || length > Wire.Size)
            return false;
        ulong offset = address.Value - start;
        if (offset > Wire.Size - length)
            return false;
        user = new UserAddress(Wire.UserAddress.Value + offset);
        return true;
    }
}

/// <summary>The memory table as the back-end knows it: after every message that succeeded, exactly what it was told. One operation changes it; whoever answers the back-end's misses reads it meanwhile.</summary>
internal sealed class PublishedMemory
{
    private volatile PublishedRegion[] _regions = [];

    public PublishedMemory()
    {
    }

    public PublishedMemory(GuestMemory memory, bool guestAddressesOnly)
    {
        _regions = [.. memory.Regions.Select(region => PublishedRegion.Of(region, guestAddressesOnly))];
    }

    private PublishedMemory(PublishedRegion[] regions) => _regions = regions;

    public int Count => _regions.Length;

    public IReadOnlyList<PublishedRegion> Regions => _regions;

    /// <summary>What both have.</summary>
    public PublishedMemory Common(PublishedMemory other) => new(Array.FindAll(_regions, other.Contains));

    public bool Contains(PublishedRegion region) => Array.IndexOf(_regions, region) >= 0;

    public void Add(PublishedRegion region) => _regions = [.. _regions, region];

    public void Remove(PublishedRegion region) => _regions = Array.FindAll(_regions, other => other != region);

    /// <summary>Whether these guest addresses lie in one region and are known to the back-end by this user address.</summary>
    public bool IsAt(GuestAddress address, ulong length, UserAddress user) => TryTranslate(address, length, out UserAddress known) && known == user;

    /// <summary>Rings are set up rarely, so a walk over at most 509 regions will do.</summary>
    public bool TryTranslate(GuestAddress address, ulong length, out UserAddress user)
    {
        foreach (PublishedRegion region in _regions)
        {
            if (region.TryTranslate(address, length, out user))
                return true;
        }

        user = default;
        return false;
    }
}
