using FsCheck;
using FsCheck.Fluent;

namespace Vhost.Protocol.Tests;

public sealed class MemoryTableTests
{
    private static VhostUserMemoryRegion Region(int i) => new(new((ulong)i << 20), 0x1000, new(0x7f0000000000 + ((ulong)i << 20)), (ulong)i);

    private static VhostUserXenRegion XenRegion(int i) => new(Region(i), VhostUserXenFlags.Foreign, (uint)i);

    [Fact]
    public void Regions_stand_at_8_plus_32_n()
    {
        byte[] bytes = new byte[VhostUserMemoryTable.EncodedSizeOf(2)];
        bytes.AsSpan().Fill(0xa5);
        VhostUserMemoryTable.Write([Region(1), Region(2)], bytes).Should().Be(72);
        bytes[..8].Should().Equal(2, 0, 0, 0, 0, 0, 0, 0);
        byte[] one = new byte[32];
        Region(1).Write(one);
        bytes[8..40].Should().Equal(one);
        Region(2).Write(one);
        bytes[40..72].Should().Equal(one);
    }

    [Fact]
    public void Xen_regions_stand_at_8_plus_40_n()
    {
        byte[] bytes = new byte[88];
        VhostUserMemoryTable.Write([XenRegion(1), XenRegion(2)], bytes).Should().Be(88);
        byte[] one = new byte[40];
        XenRegion(2).Write(one);
        bytes[48..88].Should().Equal(one);
        VhostUserMemoryTable.TryRead(bytes, out VhostUserMemoryTable table, xen: true).Should().BeTrue();
        table.GetXenRegion(1).Should().Be(XenRegion(2));
        table[1].Should().Be(Region(2));
    }

    [Fact]
    public void Every_count_is_read_back_and_no_other_size_is()
    {
        for (int count = 0; count <= VhostUserMemoryTable.MaxRegions; count++)
        {
            byte[] bytes = new byte[VhostUserMemoryTable.EncodedSizeOf(count) + 40];
            int size = VhostUserMemoryTable.Write([.. Enumerable.Range(0, count).Select(Region)], bytes);
            for (int given = 0; given <= bytes.Length; given++)
                VhostUserMemoryTable.TryRead(bytes.AsSpan(0, given), out _).Should().Be(given == size);
            VhostUserMemoryTable.TryRead(bytes.AsSpan(0, size), out VhostUserMemoryTable table);
            table.Count.Should().Be(count);
            for (int i = 0; i < count; i++)
                table[i].Should().Be(Region(i));
        }
    }

    [Theory]
    [InlineData(9u)]
    [InlineData(0x08000000u)]
    [InlineData(uint.MaxValue)]
    public void B19_a_count_above_eight_is_refused_whatever_the_size(uint count)
    {
        byte[] bytes = new byte[8 + 32 * 9];
        BitConverter.TryWriteBytes(bytes, count);
        VhostUserMemoryTable.TryRead(bytes, out _).Should().BeFalse();
        VhostUserMemoryTable.TryReadCount(bytes, out uint read).Should().BeTrue();
        read.Should().Be(count);
        VhostUserMemoryTable.TryReadCount(bytes.AsSpan(0, 7), out _).Should().BeFalse();
    }

    [Fact]
    public void Places_outside_the_table_are_refused()
    {
        byte[] bytes = new byte[40];
        VhostUserMemoryTable.Write([Region(0)], bytes);
        At(1).Should().Throw<ArgumentOutOfRangeException>();
        At(-1).Should().Throw<ArgumentOutOfRangeException>();
        FluentActions.Invoking(() => ReadXen(bytes)).Should().Throw<InvalidOperationException>();
        FluentActions.Invoking(() => VhostUserMemoryTable.EncodedSizeOf(9)).Should().Throw<ArgumentException>();

        Action At(int index) => () =>
        {
            VhostUserMemoryTable.TryRead(bytes, out VhostUserMemoryTable table);
            _ = table[index];
        };

        static void ReadXen(byte[] bytes)
        {
            VhostUserMemoryTable.TryRead(bytes, out VhostUserMemoryTable table);
            table.GetXenRegion(0);
        }
    }

    [Fact]
    public void Any_bytes_are_read_within_their_bounds_or_refused()
    {
        Prop.ForAll(ArbMap.Default.ArbFor<byte[]>(), ArbMap.Default.ArbFor<byte>(), (bytes, count) =>
        {
            byte[] payload = [(byte)(count % 10), 0, 0, 0, 0, 0, 0, 0, .. bytes];
            if (VhostUserMemoryTable.TryRead(payload, out VhostUserMemoryTable table))
            {
                for (int i = 0; i < table.Count; i++)
                    _ = table[i];
            }
        }).QuickCheckThrowOnFailure();
    }
}
