namespace Vhost.Protocol.Tests;

public sealed class AddressTests
{
    [Fact]
    public void Addresses_are_ordered_and_written_in_hexadecimal()
    {
        GuestAddress low = new(0x1000), high = new(ulong.MaxValue);
        (low < high && low <= high && high > low && high >= low).Should().BeTrue();
        low.CompareTo(high).Should().BeNegative();
        low.ToString().Should().Be("0x1000");
        UserAddress userLow = new(0x1000), userHigh = new(ulong.MaxValue);
        (userLow < userHigh && userLow <= userHigh && userHigh > userLow && userHigh >= userLow).Should().BeTrue();
        userLow.CompareTo(userHigh).Should().BeNegative();
        userHigh.ToString().Should().Be("0xffffffffffffffff");
        IoVirtualAddress ioLow = new(0x1000), ioHigh = new(ulong.MaxValue);
        (ioLow < ioHigh && ioLow <= ioHigh && ioHigh > ioLow && ioHigh >= ioLow).Should().BeTrue();
        ioLow.CompareTo(ioHigh).Should().BeNegative();
        ioLow.ToString().Should().Be("0x1000");
    }
}
