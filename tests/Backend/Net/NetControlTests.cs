using System.Buffers.Binary;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>Commands of a driver that is written by hand, well-behaved and not.</summary>
public sealed class NetControlTests : NetControlBench
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Modes_are_switched_and_decide_what_is_wanted(bool packed)
    {
        Start(packed);
        Device.ReceiveFilter.Modes.Should().Be(NetReceiveModes.Promiscuous, "a driver that says nothing wants everything");
        Wants(Other, Group, MacAddress.Broadcast);

        (await SayAsync(0, 0, 0)).Should().Be(Done);
        Wants(Own, MacAddress.Broadcast);
        Device.ReceiveFilter.Modes.Should().Be(NetReceiveModes.None);
        (await SayAsync(0, 1, 1)).Should().Be(Done);
        Wants(Own, Group, MacAddress.Broadcast);
        (await SayAsync(0, 2, 1)).Should().Be(Done);
        Wants(Own, Other, Group, MacAddress.Broadcast);
        (await SayAsync(0, 3, 1)).Should().Be(Done);
        Wants(Own, Other, MacAddress.Broadcast);
        (await SayAsync(0, 4, 1)).Should().Be(Done);
        Wants(MacAddress.Broadcast);
        (await SayAsync(0, 5, 1)).Should().Be(Done);
        Wants();
        (await SayAsync(0, 5, 0)).Should().Be(Done);
        Wants(MacAddress.Broadcast);
        (await SayAsync(0, 0, 1)).Should().Be(Done);
        Wants(Own, Other, Group, MacAddress.Broadcast);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Tables_of_addresses_are_replaced_as_a_whole_or_not_at_all(bool packed)
    {
        Start(packed);
        (await SayAsync(0, 0, 0)).Should().Be(Done);

        (await SayAsync(1, 0, [.. Table(Other), .. Table(Group)])).Should().Be(Done);
        Wants(Own, Other, Group, MacAddress.Broadcast);
        NetReceiveFilter before = Device.ReceiveFilter;

        byte[][] bad =
        [
            [], [1, 0, 0], Table(Other), [.. Table(Other), 1, 0, 0, 0], [.. Table(), .. Table(Group), 0], [1, 0, 0, 0, 2, 0, 0, 0, 0], [0xFF, 0xFF, 0xFF, 0xFF, .. Table()],
            [.. Table(Other), 0xAA, 0xAA, 0xAA, 0x2A],
        ];
        foreach (byte[] table in bad)
            (await SayAsync(1, 0, table)).Should().Be(Refused);
        Device.ReceiveFilter.Should().BeSameAs(before);

        (await SayAsync(1, 0, [.. Table(), .. Table()])).Should().Be(Done);
        Wants(Own, MacAddress.Broadcast);
        MacAddress[] many = [.. Enumerable.Range(0, 257).Select(i => new MacAddress(((ulong)i << 8) | 2))];
        (await SayAsync(1, 0, [.. Table(many[..256]), .. Table()])).Should().Be(Done);
        Device.ReceiveFilter.UnicastTable.Should().Equal(many[..256]);
        (await SayAsync(1, 0, [.. Table(many), .. Table(many)])).Should().Be(Done);
        (Device.ReceiveFilter.UnicastOverflow, Device.ReceiveFilter.MulticastOverflow, Device.ReceiveFilter.UnicastTable.Count).Should().Be((true, true, 0));
        Wants(Own, Other, Group, MacAddress.Broadcast);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_command_may_be_cut_into_pieces_of_a_byte(bool packed)
    {
        Start(packed);
        MacAddress[] many = [.. Enumerable.Range(0, 7).Select(i => new MacAddress(((ulong)i << 40) | ((ulong)i << 8) | 2))];
        byte[] bytes = [1, 0, .. Table(many), .. Table(Group)];
        Put(Data + 0x1000, bytes);
        HandRing ring = Ring(ControlIndex);
        (ulong, int)[] pieces = [.. Enumerable.Range(0, bytes.Length).Select(i => (Data + 0x1000 + (ulong)i, 1)), (Data + 0x8000, 1)];

        ring.OfferMixed(bytes.Length, pieces);

        await Eventually.TrueAsync(() => ring.Used.Count == 1);
        Get(Data + 0x8000, 1).Should().Equal(Done);
        Device.ReceiveFilter.UnicastTable.Should().Equal(many);
        Device.ReceiveFilter.MulticastTable.Should().Equal(Group);
    }

    [Fact]
    public async Task The_address_is_set_and_read_back_and_goes_with_a_reset()
    {
        Start(packed: false);
        (await SayAsync(0, 0, 0)).Should().Be(Done);
        byte[] mac = new byte[6];
        Other.Write(mac);

        (await SayAsync(1, 1, mac)).Should().Be(Done);
        Device.Mac.Should().Be(Other);
        Config().Mac.Should().Be(Other);
        Wants(Other, MacAddress.Broadcast);
        (await SayAsync(1, 1, mac[..5])).Should().Be(Refused);
        (await SayAsync(1, 1, [.. mac, 0])).Should().Be(Refused);
        (await SayAsync(1, 1, 1, 2, 3, 4, 5, 6)).Should().Be(Refused, "that is an address of several stations");
        Device.Mac.Should().Be(Other);

        await StopAsync();
        Device.Reset();
        Device.Mac.Should().Be(Own);
        Device.ReceiveFilter.Modes.Should().Be(NetReceiveModes.Promiscuous);
    }

    [Fact]
    public async Task VLANs_are_wanted_one_by_one_where_the_driver_chooses()
    {
        Start(packed: false);
        (await SayAsync(0, 0, 0)).Should().Be(Done);
        Tagged(5).Should().BeFalse();
        (await SayAsync(2, 0, 5, 0)).Should().Be(Done);
        (await SayAsync(2, 0, 0xFF, 0x0F)).Should().Be(Done);
        (Tagged(5), Tagged(6), Tagged(4095), Tagged(0x2005)).Should().Be((true, false, true, true), "the upper bits of the tag are its priority");
        (await SayAsync(2, 1, 5, 0)).Should().Be(Done);
        (Tagged(5), Tagged(4095)).Should().Be((false, true));
        (await SayAsync(2, 0, 0, 0x10)).Should().Be(Refused, "4096 is none");
        (await SayAsync(2, 0, 7)).Should().Be(Refused);
        (await SayAsync(2, 0, 7, 0, 0)).Should().Be(Refused);
        (Device.ReceiveFilter.AcceptsVlan(-1), Device.ReceiveFilter.AcceptsVlan(4096)).Should().Be((false, false));
        Device.ReceiveFilter.Accepts(new byte[5]).Should().BeFalse();
    }

    [Fact]
    public async Task An_announcement_is_asked_for_in_the_configuration_and_confirmed_here()
    {
        Start(packed: false);
        await using VhostUserBackend backend = new(Device);
        await ServedAsync();
        (await SayAsync(3, 0)).Should().Be(Refused, "nobody asked");

        (await Device.RequestAnnouncementAsync(backend)).Should().BeTrue();
        Config().Status.Should().Be(VirtioNetStatus.LinkUp | VirtioNetStatus.Announce);
        (await SayAsync(3, 0, 1)).Should().Be(Refused);
        (await SayAsync(3, 0)).Should().Be(Done);
        Config().Status.Should().Be(VirtioNetStatus.LinkUp);
    }

    [Fact]
    public async Task Commands_need_their_feature()
    {
        Start(packed: false, VirtioNetFeatures.ControlQueue | VirtioNetFeatures.Status, queues: 2, control: 2);
        (byte Class, byte Command, byte[] Data)[] all =
        [
            (0, 0, [1]), (0, 1, [1]), (0, 2, [1]), (0, 3, [1]), (0, 4, [1]), (0, 5, [1]), (1, 0, [.. Table(), .. Table()]), (1, 1, [2, 0, 0, 0, 0, 9]), (2, 0, [1, 0]), (2, 1, [1, 0]),
            (3, 0, []), (4, 0, [1, 0]),
        ];
        foreach ((byte @class, byte command, byte[] data) in all)
            (await SayAsync(@class, command, data)).Should().Be(Refused, "of {0}.{1}", @class, command);
        await using VhostUserBackend backend = new(Device);
        (await Device.RequestAnnouncementAsync(backend)).Should().BeFalse("the driver has not acknowledged that either");
        Device.ReceiveFilter.AcceptsVlan(77).Should().BeTrue("a driver that cannot choose wants all");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task What_is_no_command_is_refused(bool packed)
    {
        Start(packed);
        byte[][] bad = [[], [0], [0, 6, 1], [0, 255, 1], [1, 2], [2, 2, 1, 0], [3, 1], [4, 1, 1, 0], [5, 0], [255, 255], [0, 1], [0, 1, 2], [0, 1, 1, 1]];
        foreach (byte[] command in bad)
            (await SendAsync(command)).Should().Be(Refused, "of {0}", Convert.ToHexString(command));
        Device.ReceiveFilter.Modes.Should().Be(NetReceiveModes.Promiscuous);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task R09_a_command_without_room_for_the_answer_changes_nothing(bool packed)
    {
        Start(packed);
        Put(Data, [0, 0, 0]);
        Ring(ControlIndex).Offer(deviceWrites: false, (Data, 3));
        await Eventually.TrueAsync(() => Ring(ControlIndex).Used.Count == 1);

        Ring(ControlIndex).Used[0].Length.Should().Be(0);
        Device.ReceiveFilter.Modes.Should().Be(NetReceiveModes.Promiscuous);
        (await SayAsync(0, 0, 0)).Should().Be(Done, "the queue goes on");
    }

    private static byte[] Table(params MacAddress[] addresses)
    {
        byte[] bytes = new byte[4 + (6 * addresses.Length)];
        BinaryPrimitives.WriteInt32LittleEndian(bytes, addresses.Length);
        for (int i = 0; i < addresses.Length; i++)
            addresses[i].Write(bytes.AsSpan(4 + (6 * i)));
        return bytes;
    }

    private VirtioNetConfig Config()
    {
        byte[] bytes = new byte[VirtioNetConfig.ClassicSize];
        Device.TryReadConfig(0, bytes).Should().BeTrue();
        VirtioNetConfig.TryRead(bytes, out VirtioNetConfig config).Should().BeTrue();
        return config;
    }

    private void Wants(params MacAddress[] wanted)
    {
        foreach (MacAddress address in new[] { Own, Other, Group, MacAddress.Broadcast })
        {
            byte[] bytes = new byte[60];
            address.Write(bytes);
            bool expected = wanted.Contains(address) || Device.ReceiveFilter.Modes.HasFlag(NetReceiveModes.Promiscuous);
            Device.ReceiveFilter.Accepts(bytes).Should().Be(expected, "of {0}", address);
        }
    }

    private bool Tagged(int tag)
    {
        byte[] bytes = new byte[60];
        Own.Write(bytes);
        BinaryPrimitives.WriteUInt16BigEndian(bytes.AsSpan(12), 0x8100);
        BinaryPrimitives.WriteUInt16BigEndian(bytes.AsSpan(14), (ushort)tag);
        PacketBuffer packet = Packet(bytes);
        bool accepted = Device.ReceiveFilter.Accepts(packet);
        Pool.Return(packet);
        return accepted;
    }
}
