using Vhost.Protocol;

namespace Vhost.Backend.Tests;

/// <summary>The table of one guest is looked through for each packet of another.</summary>
public sealed class MacTableTests
{
    [Fact]
    public void An_address_is_found_or_not_after_nine_looks_at_most()
    {
        MacAddress[] addresses = [.. Enumerable.Range(0, NetReceiveFilter.MaxTableEntries).Select(static i => new MacAddress((ulong)(i * 7919 % 256 * 4) + 3))];
        MacTable table = new(addresses);
        foreach (MacAddress address in addresses)
        {
            table.Contains(address, out int looks).Should().BeTrue();
            looks.Should().BeLessThanOrEqualTo(9);
            table.Contains(new MacAddress(address.Value + 1), out looks).Should().BeFalse();
            looks.Should().BeLessThanOrEqualTo(9);
        }

        table.Contains(new MacAddress(0)).Should().BeFalse();
        MacTable.Empty.Contains(addresses[0]).Should().BeFalse();
    }
}
