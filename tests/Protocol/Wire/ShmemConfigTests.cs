namespace Vhost.Protocol.Tests;

public sealed class ShmemConfigTests
{
    [Fact]
    public void Sizes_stand_at_8_plus_8_n_and_are_counted()
    {
        byte[] bytes = new byte[VhostUserShmemConfig.Size];
        VhostUserShmemConfig.Write([0, 0x1000, 0, 0x2000], bytes).Should().Be(2056);
        BitConverter.ToUInt32(bytes, 0).Should().Be(2);
        BitConverter.ToUInt64(bytes, 8 + 8).Should().Be(0x1000);
        BitConverter.ToUInt64(bytes, 8 + 3 * 8).Should().Be(0x2000);
        VhostUserShmemConfig.TryRead(bytes, out VhostUserShmemConfig config).Should().BeTrue();
        config.Count.Should().Be(2);
        config[3].Should().Be(0x2000);
        config[255].Should().Be(0);
    }

    [Fact]
    public void No_other_size_is_read()
    {
        byte[] bytes = new byte[VhostUserShmemConfig.Size + 8];
        for (int size = 0; size <= bytes.Length; size++)
            VhostUserShmemConfig.TryRead(bytes.AsSpan(0, size), out _).Should().Be(size == VhostUserShmemConfig.Size);
        VhostUserShmemConfig none = default;
        none.Count.Should().Be(0);
        none[1].Should().Be(0);
        FluentActions.Invoking(() => VhostUserShmemConfig.Write(new ulong[257], bytes)).Should().Throw<ArgumentException>();
    }
}
