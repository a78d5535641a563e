using Vhost.Tests.Support;

namespace Vhost.Protocol.Tests;

/// <summary>A range that was resolved once: nothing outside of it is reached, whatever the offset.</summary>
public sealed class MappedWindowTests
{
    private const ulong At = 0x800;
    private const ulong Length = 64;

    [Theory]
    [InlineData(0UL, true)]
    [InlineData(56UL, true)]
    [InlineData(57UL, false)]
    [InlineData(64UL, false)]
    [InlineData(65UL, false)]
    [InlineData(ulong.MaxValue, false)]
    [InlineData(ulong.MaxValue - 7, false)]
    public void Only_what_lies_inside_is_reached(ulong offset, bool inside)
    {
        using GuestMemory memory = GuestRam.Create(0x1000);
        using GuestMemoryLease lease = memory.Acquire();
        MappedWindow.TryOpen(memory, new GuestAddress(At), Length, out MappedWindow window).Should().BeTrue();
        Action[] accesses =
        [
            () => window.Write(offset, 0x1122_3344_5566_7788UL),
            () => window.Read<ulong>(offset),
            () => window.CopyFrom([1, 2, 3, 4, 5, 6, 7, 8], offset),
            () => window.CopyTo(offset, new byte[8]),
        ];
        foreach (Action access in accesses)
        {
            if (inside)
                access.Should().NotThrow();
            else
                access.Should().Throw<ArgumentOutOfRangeException>().WithMessage("*not inside the window*");
        }

        byte[] around = new byte[0x1000];
        lease.TryCopyTo(default, around).Should().BeTrue();
        around.AsSpan(0, (int)At).IndexOfAnyExcept((byte)0).Should().Be(-1);
        around.AsSpan((int)(At + Length)).IndexOfAnyExcept((byte)0).Should().Be(-1);
    }

    [Fact]
    public void What_is_written_is_read_back_and_a_range_that_is_not_mapped_has_no_window()
    {
        using GuestMemory memory = GuestRam.Create(0x1000);
        MappedWindow.TryOpen(memory, new GuestAddress(At), Length, out MappedWindow window).Should().BeTrue();
        window.Write(8, 0x0102_0304u);
        window.Read<uint>(8).Should().Be(0x0102_0304u);
        window.CopyFrom([9, 8, 7], 61);
        byte[] read = new byte[3];
        window.CopyTo(61, read);
        read.Should().Equal(9, 8, 7);
        MappedWindow.TryOpen(memory, new GuestAddress(0xFFF), 2, out _).Should().BeFalse();
    }
}
