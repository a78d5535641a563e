using Vhost.Protocol;

namespace Vhost.Backend.Tests;

/// <summary>What a network device cannot be.</summary>
public sealed class NetOptionsTests
{
    public static TheoryData<NetDeviceOptions, string> Impossible => new()
    {
        { new NetDeviceOptions { QueuePairs = 0 }, "QueuePairs 0: must be 1 to 127." },
        { new NetDeviceOptions { QueuePairs = 128 }, "QueuePairs 128*" },
        { new NetDeviceOptions { MaxQueueSize = 1 }, "MaxQueueSize 1*" },
        { new NetDeviceOptions { MaxQueueSize = 100 }, "MaxQueueSize 100: must be a power of two from 2 to 32768." },
        { new NetDeviceOptions { Mtu = 67 }, "Mtu 67: must be 68 to 65535." },
        { new NetDeviceOptions { Speed = -1 }, "Speed -1*" },
        { new NetDeviceOptions { Offloads = VirtioNetFeatures.MultiQueue }, "Offloads 0x400000*" },
    };

    [Theory]
    [MemberData(nameof(Impossible))]
    public void What_cannot_be_is_refused(NetDeviceOptions options, string message) =>
        ((Action)(() => _ = new NetDevice(options))).Should().Throw<ArgumentException>().WithMessage(message);

    [Theory]
    [InlineData(24u, 1)]
    [InlineData(0u, 25)]
    [InlineData(uint.MaxValue, 1)]
    public void Configuration_space_ends_where_it_ends(uint offset, int length) => new NetDevice().TryReadConfig(offset, new byte[length]).Should().BeFalse();

    [Fact]
    public void Queues_are_the_applications_unless_a_handler_is_there_to_be_called()
    {
        foreach (QueueDispatch chosen in Enum.GetValues<QueueDispatch>())
        {
            new NetDevice().DispatchOf(1, chosen).Should().Be(QueueDispatch.Application);
            if (chosen != QueueDispatch.Application)
                new NetDevice(handler: new Silent()).DispatchOf(1, chosen).Should().Be(chosen);
        }

        FluentActions.Invoking(() => new NetDevice(handler: new Silent()).DispatchOf(1, QueueDispatch.Application)).Should().Throw<InvalidOperationException>().WithMessage("*INetHandler*");
    }

    [Fact]
    public void A_device_that_was_asked_for_nothing_offers_no_more_than_any_driver_can_do_with()
    {
        NetDevice device = new();

        VirtioNetFeatures net = (VirtioNetFeatures)(ulong)device.Features;
        (net & (NetDeviceOptions.AllOffloads | VirtioNetFeatures.ControlQueue | VirtioNetFeatures.MultiQueue | VirtioNetFeatures.Mtu)).Should().Be(VirtioNetFeatures.None);
        (device.QueueCount, device.QueuePairs, device.ActivePairs, device.Ports.Count).Should().Be((2, 1, 1, 1));
        new NetDevice(new NetDeviceOptions { QueuePairs = 2 }).QueueCount.Should().Be(5, "with several pairs there is a control queue");
    }

    private sealed class Silent : INetHandler
    {
        public void FromGuest(NetPort port)
        {
            // Takes nothing.
        }

        public void ToGuest(NetPort port)
        {
            // Gives nothing.
        }
    }
}
