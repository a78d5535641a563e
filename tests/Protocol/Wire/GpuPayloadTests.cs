namespace Vhost.Protocol.Tests;

public sealed class GpuPayloadTests
{
    [Fact]
    public void A_cursor_image_has_hot_spot_at_12_and_pixels_at_20()
    {
        byte[] pixels = [.. Enumerable.Range(0, 64 * 64 * 4).Select(i => (byte)i)];
        byte[] bytes = new byte[16404];
        VhostUserGpuCursorImage.Write(new(1, 2, 3), 4, 5, pixels, bytes).Should().Be(16404);
        BitConverter.ToUInt32(bytes, 12).Should().Be(4);
        VhostUserGpuCursorImage.TryRead(bytes, out VhostUserGpuCursorImage image).Should().BeTrue();
        image.Position.Should().Be(new VhostUserGpuCursorPosition(1, 2, 3));
        image.HotX.Should().Be(4);
        image.HotY.Should().Be(5);
        image.Pixels.SequenceEqual(pixels).Should().BeTrue();
        VhostUserGpuCursorImage.TryRead(bytes.AsSpan(0, 16403), out _).Should().BeFalse();
        FluentActions.Invoking(() => VhostUserGpuCursorImage.Write(default, 0, 0, new byte[16385], bytes)).Should().Throw<ArgumentException>();
    }

    [Fact]
    public void An_update_has_exactly_the_pixels_of_its_rectangle()
    {
        byte[] bytes = new byte[20 + 24];
        VhostUserGpuUpdate.Write(new(0, 1, 2, 3, 2), new byte[24], bytes).Should().Be(44);
        VhostUserGpuUpdate.TryRead(bytes, out VhostUserGpuUpdate update).Should().BeTrue();
        update.Rectangle.Should().Be(new VhostUserGpuRectangle(0, 1, 2, 3, 2));
        update.Pixels.Length.Should().Be(24);
        for (int size = 0; size < bytes.Length; size++)
            VhostUserGpuUpdate.TryRead(bytes.AsSpan(0, size), out _).Should().BeFalse();
        FluentActions.Invoking(() => VhostUserGpuUpdate.Write(new(0, 1, 2, 3, 2), new byte[20], bytes)).Should().Throw<ArgumentException>();
    }

    [Theory]
    [InlineData(uint.MaxValue, uint.MaxValue)]
    [InlineData(0x80000000u, 2u)]
    [InlineData(0x40000000u, 1u)]
    [InlineData(0x80000000u, 0x80000000u)]
    public void A_rectangle_whose_pixels_overflow_is_refused(uint width, uint height)
    {
        byte[] bytes = new byte[20];
        new VhostUserGpuRectangle(0, 0, 0, width, height).Write(bytes);
        VhostUserGpuUpdate.TryRead(bytes, out _).Should().BeFalse();
    }

    [Fact]
    public void Display_info_has_sixteen_scanouts_behind_a_control_header()
    {
        byte[] bytes = new byte[VhostUserGpuDisplayInfo.Size];
        VhostUserGpuDisplayInfo.Write([new(1, 2, 3, 4, 1, 6)], bytes).Should().Be(408);
        BitConverter.ToUInt32(bytes, 0).Should().Be(0x1101);
        BitConverter.ToUInt32(bytes, 24 + 8).Should().Be(3);
        VhostUserGpuDisplayInfo.TryRead(bytes, out VhostUserGpuDisplayInfo info).Should().BeTrue();
        info.Type.Should().Be(VhostUserGpuDisplayInfo.OkType);
        info[0].Should().Be(new VhostUserGpuDisplay(1, 2, 3, 4, 1, 6));
        info[15].Should().Be(default(VhostUserGpuDisplay));
        VhostUserGpuDisplayInfo.TryRead(bytes.AsSpan(1), out _).Should().BeFalse();
        FluentActions.Invoking(() => VhostUserGpuDisplayInfo.Write(new VhostUserGpuDisplay[17], bytes)).Should().Throw<ArgumentException>();
        FluentActions.Invoking(() => Scanout(bytes, 16)).Should().Throw<ArgumentOutOfRangeException>();

        static void Scanout(byte[] bytes, int index)
        {
            VhostUserGpuDisplayInfo.TryRead(bytes, out VhostUserGpuDisplayInfo info);
            _ = info[index];
        }
    }

    [Fact]
    public void An_edid_has_its_size_at_24_and_its_bytes_at_32()
    {
        byte[] bytes = new byte[VhostUserGpuEdid.Size];
        VhostUserGpuEdid.Write([9, 8, 7], bytes).Should().Be(1056);
        BitConverter.ToUInt32(bytes, 24).Should().Be(3);
        bytes[32..35].Should().Equal(9, 8, 7);
        VhostUserGpuEdid.TryRead(bytes, out VhostUserGpuEdid edid).Should().BeTrue();
        edid.Type.Should().Be(VhostUserGpuEdid.OkType);
        edid.Data.ToArray().Should().Equal(9, 8, 7);
        VhostUserGpuEdid.TryRead(bytes.AsSpan(1), out _).Should().BeFalse();
        BitConverter.TryWriteBytes(bytes.AsSpan(24), 1025u);
        VhostUserGpuEdid.TryRead(bytes, out _).Should().BeFalse();
        FluentActions.Invoking(() => VhostUserGpuEdid.Write(new byte[1025], bytes)).Should().Throw<ArgumentException>();
    }
}
