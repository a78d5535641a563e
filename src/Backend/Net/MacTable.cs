using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// Addresses that are looked for in each packet: sorted, since the guest that has set them is not the one whose packets are held against them.
/// </summary>
internal sealed class MacTable
{
    private readonly ulong[] _sorted;

    internal MacTable(IReadOnlyList<MacAddress> addresses)
    {
        _sorted = [.. addresses.Select(static address => address.Value)];
        Array.Sort(_sorted);
    }

    internal static MacTable Empty { get; } = new([]);

    /// <summary>Whether an address is in the table.</summary>
    internal bool Contains(MacAddress address) => Contains(address, out _);

    /// <summary>The same, and how many entries were looked at.</summary>
    internal bool Contains(MacAddress address, out int looks)
    {
        looks = 0;
        for (int low = 0, high = _sorted.Length; low < high;)
        {
            looks++;
            int middle = (low + high) / 2;
            ulong here = _sorted[middle];
            if (here == address.Value)
                return true;
            (low, high) = here < address.Value ? (middle + 1, high) : (low, middle);
        }

        return false;
    }
}
