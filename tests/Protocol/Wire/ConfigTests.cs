namespace Vhost.Protocol.Tests;

public sealed class ConfigTests
{
    [Fact]
    public void Header_has_offset_size_and_flags_and_the_window_follows()
    {
        byte[] bytes = new byte[VhostUserConfig.EncodedSizeOf(3)];
        bytes.AsSpan().Fill(0xa5);
        VhostUserConfig header = new(32, 3, VhostUserConfigFlags.Migration);
        header.EncodedSize.Should().Be(12);
        header.Write(bytes);
        Convert.ToHexString(bytes).Should().Be("200000000300000001000000A5A5A5");
        VhostUserConfig.TryRead(bytes, out VhostUserConfig read, out ReadOnlySpan<byte> window).Should().BeTrue();
        read.Should().Be(header);
        window.Length.Should().Be(3);
        FluentActions.Invoking(() => header.Write(new byte[11])).Should().Throw<ArgumentException>();
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(257)]
    public void A_window_has_0_to_256_bytes(int length) =>
        FluentActions.Invoking(() => VhostUserConfig.EncodedSizeOf(length)).Should().Throw<ArgumentOutOfRangeException>();

    [Fact]
    public void B30_the_payload_is_exactly_header_and_window()
    {
        byte[] bytes = new byte[12 + 300];
        foreach (uint size in new uint[] { 0, 1, 60, 255, 256, 257, 288, uint.MaxValue, uint.MaxValue - 11 })
        {
            new VhostUserConfig(0, size, VhostUserConfigFlags.Writable).Write(bytes);
            for (int given = 0; given <= bytes.Length; given++)
            {
                VhostUserConfig.TryRead(bytes.AsSpan(0, given), out _).Should().Be(given >= 12);
                VhostUserConfig.TryRead(bytes.AsSpan(0, given), out _, out _).Should().Be(size <= 256 && given == 12 + size);
            }
        }
    }
}
