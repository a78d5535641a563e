namespace Vhost.Protocol.Tests;

/// <summary>What may be left to the other side, in both directions, for every kind of work and every set of features that matters to it.</summary>
public sealed class OffloadRulesTests
{
    private const uint Length = 1000;

    /// <summary>A kind of segments, and the bit that allows it from the driver and to the driver.</summary>
    public static TheoryData<VirtioNetGsoType, VirtioNetFeatures, VirtioNetFeatures> Kinds => new()
    {
        { VirtioNetGsoType.TcpV4, VirtioNetFeatures.HostTso4, VirtioNetFeatures.GuestTso4 },
        { VirtioNetGsoType.TcpV6, VirtioNetFeatures.HostTso6, VirtioNetFeatures.GuestTso6 },
        { VirtioNetGsoType.Udp, VirtioNetFeatures.HostUfo, VirtioNetFeatures.GuestUfo },
        { VirtioNetGsoType.UdpL4, VirtioNetFeatures.HostUso, VirtioNetFeatures.GuestUso4 },
        { VirtioNetGsoType.UdpL4, VirtioNetFeatures.HostUso, VirtioNetFeatures.GuestUso6 },
    };

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Segments_pass_where_their_bit_is_acknowledged_and_nowhere_else(VirtioNetGsoType kind, VirtioNetFeatures host, VirtioNetFeatures guest)
    {
        PacketOffload segments = PacketOffload.ForSegmentation(kind, 100, 54, 34, 16);

        Accepts(FromDriver(host | VirtioNetFeatures.Checksum), segments).Should().BeTrue();
        Accepts(ToDriver(guest | VirtioNetFeatures.GuestChecksum), segments).Should().BeTrue();
        Judges(ToDriver(guest | VirtioNetFeatures.GuestChecksum), segments).Should().Be(OffloadVerdict.Send);
        Judges(FromDriver(host | VirtioNetFeatures.Checksum), segments).Should().Be(OffloadVerdict.Send);

        Accepts(FromDriver(VirtioNetFeatures.Checksum | (AllHost & ~host)), segments).Should().BeFalse();
        Accepts(FromDriver(guest | VirtioNetFeatures.Checksum), segments).Should().BeFalse("the bits of the other direction say nothing");
        Accepts(ToDriver(host | VirtioNetFeatures.GuestChecksum), segments).Should().BeFalse();
        Judges(FromDriver(VirtioNetFeatures.Checksum), segments).Should().Be(OffloadVerdict.Refuse);
        Judges(ToDriver(VirtioNetFeatures.GuestChecksum), segments).Should().Be(OffloadVerdict.Refuse);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void R11_segments_of_size_zero_or_with_headers_longer_than_the_packet_are_refused(VirtioNetGsoType kind, VirtioNetFeatures host, VirtioNetFeatures guest)
    {
        OffloadRules from = FromDriver(host | VirtioNetFeatures.Checksum);
        OffloadRules to = ToDriver(guest | VirtioNetFeatures.GuestChecksum);
        PacketOffload good = PacketOffload.ForSegmentation(kind, 100, 54, 34, 16);

        Accepts(from, good with { GsoSize = 0 }).Should().BeFalse();
        Accepts(to, good with { GsoSize = 0 }).Should().BeFalse();
        Accepts(from, good with { HeaderLength = (ushort)Length }).Should().BeTrue();
        Accepts(from, good with { HeaderLength = (ushort)(Length + 1) }).Should().BeFalse();
        Judges(to, good with { GsoSize = 0 }).Should().Be(OffloadVerdict.Refuse);
        Judges(to, good with { HeaderLength = (ushort)(Length + 1) }).Should().Be(OffloadVerdict.Refuse);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Congestion_notification_goes_with_TCP_alone_and_with_its_own_bit(VirtioNetGsoType kind, VirtioNetFeatures host, VirtioNetFeatures guest)
    {
        bool tcp = kind is VirtioNetGsoType.TcpV4 or VirtioNetGsoType.TcpV6;
        PacketOffload segments = PacketOffload.ForSegmentation(kind | VirtioNetGsoType.Ecn, 100, 54, 34, 16);

        Accepts(FromDriver(host | VirtioNetFeatures.Checksum | VirtioNetFeatures.HostEcn), segments).Should().Be(tcp);
        Accepts(ToDriver(guest | VirtioNetFeatures.GuestChecksum | VirtioNetFeatures.GuestEcn), segments).Should().Be(tcp);
        Accepts(FromDriver(host | VirtioNetFeatures.Checksum | VirtioNetFeatures.GuestEcn), segments).Should().BeFalse();
        Judges(ToDriver(guest | VirtioNetFeatures.GuestChecksum), segments).Should().Be(OffloadVerdict.Refuse);
    }

    [Fact]
    public void R11_a_kind_that_does_not_exist_is_refused_whatever_was_acknowledged()
    {
        OffloadRules everything = FromDriver((VirtioNetFeatures)ulong.MaxValue);

        foreach (int kind in Enumerable.Range(0, 256))
        {
            bool exists = (kind & 0x7F) is 1 or 3 or 4 or 5 && ((kind & 0x80) == 0 || (kind & 0x7F) is 1 or 4);
            PacketOffload segments = new(VirtioNetHeaderFlags.None, (VirtioNetGsoType)kind, 0, 100, 0, 0);
            Accepts(everything, segments).Should().Be(exists || kind == 0, "of kind {0}", kind);
        }
    }

    [Theory]
    [InlineData(0, 0, true)]
    [InlineData(34, 16, true)]
    [InlineData(998, 0, true)]
    [InlineData(0, 998, true)]
    [InlineData(999, 0, false)]
    [InlineData(0, 999, false)]
    [InlineData(500, 499, false)]
    [InlineData(65535, 65535, false)]
    public void R11_a_checksum_must_lie_in_the_packet(int start, int offset, bool inside)
    {
        PacketOffload checksum = PacketOffload.ForChecksum(start, offset);

        Accepts(FromDriver(VirtioNetFeatures.Checksum), checksum).Should().Be(inside);
        Accepts(ToDriver(VirtioNetFeatures.GuestChecksum), checksum).Should().Be(inside);
        Accepts(FromDriver(VirtioNetFeatures.GuestChecksum), checksum).Should().BeFalse();
        Accepts(ToDriver(VirtioNetFeatures.Checksum), checksum).Should().BeFalse();
        Judges(ToDriver(VirtioNetFeatures.GuestChecksum), checksum).Should().Be(inside ? OffloadVerdict.Send : OffloadVerdict.Refuse);
        Judges(ToDriver(VirtioNetFeatures.None), checksum).Should().Be(inside ? OffloadVerdict.CompleteChecksum : OffloadVerdict.Refuse);
    }

    [Fact]
    public void A_checked_checksum_means_something_towards_the_driver_alone()
    {
        PacketOffload valid = new(VirtioNetHeaderFlags.DataValid, VirtioNetGsoType.None, 1, 2, 3, 4);

        Accepted(ToDriver(VirtioNetFeatures.GuestChecksum), valid).Flags.Should().Be(VirtioNetHeaderFlags.DataValid);
        Accepted(ToDriver(VirtioNetFeatures.None), valid).Should().Be(default(PacketOffload));
        Accepted(FromDriver(VirtioNetFeatures.Checksum), valid).Should().Be(default(PacketOffload));
        Sent(ToDriver(VirtioNetFeatures.GuestChecksum), valid).Flags.Should().Be(VirtioNetHeaderFlags.DataValid);
        Sent(FromDriver(VirtioNetFeatures.Checksum), valid).IsNone.Should().BeTrue();
    }

    [Fact]
    public void Flags_that_mean_nothing_and_places_that_nobody_asked_for_are_taken_out()
    {
        OffloadRules rules = FromDriver(VirtioNetFeatures.Checksum | VirtioNetFeatures.HostTso4);

        Accepted(rules, new PacketOffload((VirtioNetHeaderFlags)0xFE, VirtioNetGsoType.None, 9, 9, 9, 9)).Should().Be(default(PacketOffload));
        PacketOffload withoutChecksum = Accepted(rules, new PacketOffload((VirtioNetHeaderFlags)0xFE, VirtioNetGsoType.TcpV4, 54, 100, 60000, 60000));
        withoutChecksum.Should().Be(new PacketOffload(VirtioNetHeaderFlags.None, VirtioNetGsoType.TcpV4, 54, 100, 0, 0));
        Accepted(rules, new PacketOffload((VirtioNetHeaderFlags)0xFF, VirtioNetGsoType.None, 0, 0, 34, 16)).Flags.Should().Be(VirtioNetHeaderFlags.NeedsChecksum);
    }

    [Fact]
    public void Nothing_to_do_is_nothing_to_do_whatever_else_the_header_says()
    {
        OffloadRules.IsNone(0xFFFF_FFFF_FFFF_0000).Should().BeTrue();
        OffloadRules.IsNone(1).Should().BeFalse();
        OffloadRules.IsNone(0x100).Should().BeFalse();
        Accepts(FromDriver(VirtioNetFeatures.None), default).Should().BeTrue();
        Judges(FromDriver(VirtioNetFeatures.None), default).Should().Be(OffloadVerdict.Send);
    }

    private const VirtioNetFeatures AllHost =
        VirtioNetFeatures.HostTso4 | VirtioNetFeatures.HostTso6 | VirtioNetFeatures.HostUfo | VirtioNetFeatures.HostUso;

    private static OffloadRules FromDriver(VirtioNetFeatures features) => OffloadRules.FromDriver((VirtioFeatures)(ulong)features);

    private static OffloadRules ToDriver(VirtioNetFeatures features) => OffloadRules.ToDriver((VirtioFeatures)(ulong)features);

    private static bool Accepts(in OffloadRules rules, PacketOffload offload)
    {
        (ulong word, ushort checksumOffset) = WordsOf(offload);
        return rules.TryAccept(ref word, ref checksumOffset, Length);
    }

    private static PacketOffload Accepted(in OffloadRules rules, PacketOffload offload)
    {
        (ulong word, ushort checksumOffset) = WordsOf(offload);
        rules.TryAccept(ref word, ref checksumOffset, Length).Should().BeTrue();
        return OffloadOf(word, checksumOffset);
    }

    private static OffloadVerdict Judges(in OffloadRules rules, PacketOffload offload)
    {
        (ulong word, ushort checksumOffset) = WordsOf(offload);
        return rules.Judge(ref word, checksumOffset, Length);
    }

    private static PacketOffload Sent(in OffloadRules rules, PacketOffload offload)
    {
        (ulong word, ushort checksumOffset) = WordsOf(offload);
        rules.Judge(ref word, checksumOffset, Length).Should().Be(OffloadVerdict.Send);
        return OffloadOf(word, checksumOffset);
    }

    private static (ulong Word, ushort ChecksumOffset) WordsOf(PacketOffload offload)
    {
        byte[] bytes = new byte[VirtioNetHeader.Size];
        new VirtioNetHeader(offload.Flags, offload.GsoType, offload.HeaderLength, offload.GsoSize, offload.ChecksumStart, offload.ChecksumOffset, 0).Write(bytes);
        return (BitConverter.ToUInt64(bytes), BitConverter.ToUInt16(bytes, 8));
    }

    private static PacketOffload OffloadOf(ulong word, ushort checksumOffset)
    {
        byte[] bytes = [.. BitConverter.GetBytes(word), .. BitConverter.GetBytes(checksumOffset)];
        VirtioNetHeader.TryRead(bytes, out VirtioNetHeader header).Should().BeTrue();
        return new PacketOffload(header.Flags, header.GsoType, header.HeaderLength, header.GsoSize, header.ChecksumStart, header.ChecksumOffset);
    }
}
