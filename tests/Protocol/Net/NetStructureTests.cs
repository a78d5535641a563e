using System.Buffers.Binary;

namespace Vhost.Protocol.Tests;

/// <summary>The small structures of a network device, byte by byte.</summary>
public sealed class NetStructureTests
{
    [Fact]
    public void A_header_of_twelve_bytes_is_laid_out_as_the_specification_says()
    {
        VirtioNetHeader header = new(VirtioNetHeaderFlags.NeedsChecksum, VirtioNetGsoType.TcpV6, 0x0102, 0x0304, 0x0506, 0x0708, 0x090A);
        byte[] bytes = new byte[12];

        header.Write(bytes);

        bytes.Should().Equal(1, 4, 2, 1, 4, 3, 6, 5, 8, 7, 0xA, 9);
        VirtioNetHeader.TryRead(bytes, out VirtioNetHeader read).Should().BeTrue();
        read.Should().Be(header);
    }

    [Fact]
    public void A_header_of_ten_bytes_has_no_count_of_buffers()
    {
        VirtioNetHeader header = new(VirtioNetHeaderFlags.DataValid, VirtioNetGsoType.None, 1, 2, 3, 4, 5);
        byte[] bytes = new byte[11];

        header.Write(bytes);

        bytes[10].Should().Be(0, "nothing is written behind the ten bytes");
        VirtioNetHeader.TryRead(bytes, out VirtioNetHeader read).Should().BeTrue();
        read.Should().Be(header with { BufferCount = 0 });
        VirtioNetHeader.TryRead(bytes.AsSpan(0, 9), out read).Should().BeFalse();
        read.Should().Be(default(VirtioNetHeader));
        ((Action)(() => header.Write(new byte[9]))).Should().Throw<ArgumentException>();
    }

    [Theory]
    [InlineData(0, 10)]
    [InlineData((ulong)VirtioFeatures.AnyLayout, 10)]
    [InlineData((ulong)VirtioFeatures.Version1, 12)]
    [InlineData((ulong)VirtioNetFeatures.MergeableBuffers, 12)]
    public void The_size_of_the_header_follows_from_the_features(ulong features, int size) =>
        VirtioNetHeader.SizeFor((VirtioFeatures)features).Should().Be(size);

    [Fact]
    public void The_work_left_to_do_says_what_it_is()
    {
        default(PacketOffload).IsNone.Should().BeTrue();
        PacketOffload checksum = PacketOffload.ForChecksum(34, 16);
        (checksum.IsNone, checksum.NeedsChecksum, checksum.IsDataValid, checksum.Segmentation).Should().Be((false, true, false, VirtioNetGsoType.None));
        PacketOffload segments = PacketOffload.ForSegmentation(VirtioNetGsoType.TcpV4 | VirtioNetGsoType.Ecn, 1448, 66, 34, 16);
        (segments.NeedsChecksum, segments.HasEcn, segments.Segmentation).Should().Be((true, true, VirtioNetGsoType.TcpV4));
        (segments.GsoSize, segments.HeaderLength, segments.ChecksumStart, segments.ChecksumOffset).Should().Be((1448, 66, 34, 16));
        new PacketOffload(VirtioNetHeaderFlags.DataValid, 0, 0, 0, 0, 0).IsDataValid.Should().BeTrue();
        ((Action)(() => PacketOffload.ForChecksum(65536, 0))).Should().Throw<OverflowException>();
    }

    [Fact]
    public void An_address_is_read_and_written_as_on_the_wire_and_as_text()
    {
        byte[] wire = [0x02, 0x11, 0x22, 0x33, 0x44, 0x55];

        MacAddress.TryRead(wire, out MacAddress address).Should().BeTrue();

        address.Value.Should().Be(0x554433221102);
        address.ToString().Should().Be("02:11:22:33:44:55");
        MacAddress.TryParse("02:11:22:33:44:55", out MacAddress parsed).Should().BeTrue();
        parsed.Should().Be(address);
        byte[] written = new byte[6];
        address.Write(written);
        written.Should().Equal(wire);
        address.IsMulticast.Should().BeFalse();
        MacAddress.Broadcast.IsMulticast.Should().BeTrue();
        MacAddress.Broadcast.ToString().Should().Be("ff:ff:ff:ff:ff:ff");
    }

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("02:11:22:33:44")]
    [InlineData("02:11:22:33:44:55:66")]
    [InlineData("02:11:22:33:44:5")]
    [InlineData("02:11:22:33:44:5g")]
    [InlineData("02:11:22:33:44: 5")]
    [InlineData("0x:11:22:33:44:55")]
    public void What_is_no_address_is_refused(string? text)
    {
        MacAddress.TryParse(text, out MacAddress address).Should().BeFalse();
        address.Should().Be(default(MacAddress));
    }

    [Fact]
    public void Five_bytes_are_no_address_and_have_no_room_for_one()
    {
        MacAddress.TryRead(new byte[5], out MacAddress address).Should().BeFalse();
        address.Should().Be(default(MacAddress));
        ((Action)(() => address.Write(new byte[5]))).Should().Throw<ArgumentException>();
    }

    [Fact]
    public void Random_addresses_are_local_ones_of_one_station()
    {
        MacAddress[] some = [.. Enumerable.Range(0, 100).Select(_ => MacAddress.Random())];

        some.Should().OnlyHaveUniqueItems();
        some.Should().OnlyContain(address => (address.Value & 3) == 2 && address.Value <= 0xFFFF_FFFF_FFFF);
    }

    [Fact]
    public void The_announcement_is_a_reverse_ARP_request_to_everybody()
    {
        MacAddress.TryParse("02:11:22:33:44:55", out MacAddress address).Should().BeTrue();
        byte[] packet = [.. Enumerable.Repeat((byte)0xEE, 66)];

        RarpPacket.Write(packet, address);

        byte[] mac = [0x02, 0x11, 0x22, 0x33, 0x44, 0x55];
        packet[..64].Should().Equal(
        [
            .. Enumerable.Repeat((byte)0xFF, 6), .. mac, 0x80, 0x35, // Ethernet
            0, 1, 8, 0, 6, 4, 0, 3, // Ethernet and IPv4, a reverse request
            .. mac, 0, 0, 0, 0, .. mac, 0, 0, 0, 0, .. new byte[22],
        ]);
        packet[64..].Should().Equal(0xEE, 0xEE);
        ((Action)(() => RarpPacket.Write(new byte[63], address))).Should().Throw<ArgumentException>();
    }

    [Fact]
    public void Configuration_space_is_laid_out_as_the_specification_says()
    {
        VirtioNetConfig config = new()
        {
            Mac = new MacAddress(0x060504030201),
            Status = VirtioNetStatus.LinkUp | VirtioNetStatus.Announce,
            MaxQueuePairs = 0x0807,
            Mtu = 0x0A09,
            Speed = 0x0E0D0C0B,
            Duplex = 0x0F,
            RssMaxKeySize = 0x10,
            RssMaxIndirectionTableLength = 0x1211,
            SupportedHashTypes = 0x16151413,
            SupportedTunnelTypes = 0x1A191817,
        };
        byte[] bytes = [.. Enumerable.Repeat((byte)0xEE, 30)];

        config.Write(bytes);

        bytes.Should().Equal([1, 2, 3, 4, 5, 6, 3, 0, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 0xEE, 0xEE]);
        VirtioNetConfig.TryRead(bytes, out VirtioNetConfig read).Should().BeTrue();
        read.Should().Be(config);
        byte[] classic = new byte[VirtioNetConfig.ClassicSize];
        config.Write(classic);
        VirtioNetConfig.TryRead(classic, out read).Should().BeTrue();
        read.Should().Be(config with { SupportedTunnelTypes = 0 });
    }

    [Fact]
    public void A_shorter_configuration_space_lacks_what_is_not_wholly_there()
    {
        byte[] bytes = [.. Enumerable.Range(1, 28).Select(i => (byte)i)];
        int[] ends = [8, 10, 12, 16, 17, 18, 20, 24, 28]; // where each field after the address ends

        for (int length = 0; length <= 28; length++)
        {
            VirtioNetConfig.TryRead(bytes.AsSpan(0, length), out VirtioNetConfig read).Should().Be(length >= 6);
            bool[] there =
            [
                read.Status != 0, read.MaxQueuePairs != 0, read.Mtu != 0, read.Speed != 0, read.Duplex != 0, read.RssMaxKeySize != 0,
                read.RssMaxIndirectionTableLength != 0, read.SupportedHashTypes != 0, read.SupportedTunnelTypes != 0,
            ];
            there.Should().Equal(ends.Select(end => length >= end), "of {0} bytes", length);
        }
    }

    [Fact]
    public void Checksums_are_those_of_the_obvious_loop_in_any_number_of_pieces()
    {
        Random random = new(5);
        for (int turn = 0; turn < 500; turn++)
        {
            byte[] bytes = new byte[random.Next(0, 200)];
            random.NextBytes(bytes);
            InternetChecksum sum = new();
            for (int at = 0; at < bytes.Length;)
            {
                int count = random.Next(0, bytes.Length - at + 1);
                sum.Add(bytes.AsSpan(at, count));
                at += count;
            }

            sum.Complete().Should().Be(Reference(bytes));
        }
    }

    [Fact]
    public void A_checksum_of_zero_is_sent_as_its_other_form()
    {
        InternetChecksum sum = new();
        sum.Add([0xFF, 0xFF]);

        sum.Complete().Should().Be(0xFFFF);
    }

    /// <summary>RFC 1071 as it is written: words of sixteen bits, carries folded at once.</summary>
    private static ushort Reference(ReadOnlySpan<byte> bytes)
    {
        uint sum = 0;
        for (int i = 0; i < bytes.Length; i += 2)
        {
            sum += i + 1 < bytes.Length ? BinaryPrimitives.ReadUInt16BigEndian(bytes[i..]) : (uint)(bytes[i] << 8);
            sum = (sum & 0xFFFF) + (sum >> 16);
        }

        return (ushort)~sum is var complete and not 0 ? complete : (ushort)0xFFFF;
    }
}
