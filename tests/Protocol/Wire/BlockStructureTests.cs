using FsCheck;
using FsCheck.Fluent;

namespace Vhost.Protocol.Tests;

public sealed class BlockStructureTests
{
    [Fact]
    public void A_request_header_has_type_reserved_and_sector()
    {
        byte[] bytes = new byte[16];
        new VirtioBlkRequestHeader(VirtioBlkRequestType.Discard, 2, 0x0102030405060708).Write(bytes);
        Convert.ToHexString(bytes).Should().Be("0B000000020000000807060504030201");
        VirtioBlkRequestHeader.TryRead(bytes, out VirtioBlkRequestHeader read).Should().BeTrue();
        read.Should().Be(new VirtioBlkRequestHeader(VirtioBlkRequestType.Discard, 2, 0x0102030405060708));
        for (int size = 0; size < 16; size++)
            VirtioBlkRequestHeader.TryRead(bytes.AsSpan(0, size), out _).Should().BeFalse();
    }

    [Fact]
    public void A_range_has_sector_count_and_flags()
    {
        byte[] bytes = new byte[16];
        new VirtioBlkRange(0x0102030405060708, 0x11, VirtioBlkRangeFlags.Unmap).Write(bytes);
        Convert.ToHexString(bytes).Should().Be("08070605040302011100000001000000");
        VirtioBlkRange.TryRead(bytes, out VirtioBlkRange read).Should().BeTrue();
        read.Should().Be(new VirtioBlkRange(0x0102030405060708, 0x11, VirtioBlkRangeFlags.Unmap));
        for (int size = 0; size < 16; size++)
            VirtioBlkRange.TryRead(bytes.AsSpan(0, size), out _).Should().BeFalse();
    }

    [Fact]
    public void Configuration_survives_in_any_length()
    {
        Prop.ForAll(ArbMap.Default.GeneratorFor<byte>().ArrayOf(96).ToArbitrary(), bytes =>
        {
            VirtioBlkConfig.TryRead(bytes, out VirtioBlkConfig whole).Should().BeTrue();
            byte[] again = new byte[100];
            whole.Write(again);
            VirtioBlkConfig.TryRead(again.AsSpan(0, 96), out VirtioBlkConfig second).Should().BeTrue();
            second.Should().Be(whole);
            byte[] zeroed = [.. bytes];
            foreach (int pad in (int[])[33, 57, 58, 59, 93, 94, 95])
                zeroed[pad] = 0;
            again[..96].Should().Equal(zeroed);
            byte[] classic = new byte[60];
            whole.Write(classic);
            classic.Should().Equal(zeroed[..60]);
        }).QuickCheckThrowOnFailure();
    }

    [Fact]
    public void Fields_beyond_a_prefix_are_zero()
    {
        byte[] bytes = new byte[96];
        bytes.AsSpan().Fill(0xff);
        for (int size = 0; size <= 96; size++)
        {
            bool read = VirtioBlkConfig.TryRead(bytes.AsSpan(0, size), out VirtioBlkConfig config);
            read.Should().Be(size >= 8);
            if (!read)
                continue;
            config.Capacity.Should().Be(ulong.MaxValue);
            config.BlockSize.Should().Be(size >= 24 ? uint.MaxValue : 0);
            config.QueueCount.Should().Be(size >= 36 ? ushort.MaxValue : (ushort)0);
            config.WriteZeroesMayUnmap.Should().Be(size >= 57 ? byte.MaxValue : (byte)0);
            config.ZoneModel.Should().Be(size >= 93 ? byte.MaxValue : (byte)0);
        }
    }
}
