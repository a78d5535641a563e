using System.Buffers.Binary;
using System.Text;

namespace Vhost.Interop.Tests;

/// <summary>Reads a pcapng file as its specification has it, and knows nothing of who wrote it.</summary>
internal sealed class CaptureFile
{
    private CaptureFile(string interfaceName) => InterfaceName = interfaceName;

    public string InterfaceName { get; }

    public List<CapturedPacket> Packets { get; } = [];

    public ulong Received { get; private set; }

    public ulong Dropped { get; private set; }

    public static CaptureFile Read(string path)
    {
        ReadOnlySpan<byte> file = File.ReadAllBytes(path);
        (uint type, byte[] section) = Next(ref file);
        type.Should().Be(0x0A0D0D0A);
        U32(section, 0).Should().Be(0x1A2B3C4D, "the byte order is ours");
        (U16(section, 4), U16(section, 6)).Should().Be((1, 0));
        (type, byte[] description) = Next(ref file);
        type.Should().Be(1);
        U16(description, 0).Should().Be(1, "it is Ethernet");
        Dictionary<int, byte[]> about = Options(description.AsSpan(8));
        about[9].Should().Equal([9], "times are nanoseconds");
        CaptureFile read = new(Encoding.UTF8.GetString(about[2]));
        while (!file.IsEmpty)
        {
            (type, byte[] body) = Next(ref file);
            if (type == 6)
                read.Packets.Add(Packet(body));
            else
                read.End(type, body, file.Length);
        }

        return read;
    }

    private static CapturedPacket Packet(byte[] body)
    {
        U32(body, 0).Should().Be(0);
        int length = (int)U32(body, 12);
        U32(body, 16).Should().Be((uint)length, "packets are whole");
        Dictionary<int, byte[]> options = Options(body.AsSpan(20 + ((length + 3) / 4 * 4)));
        long nanoseconds = (long)(((ulong)U32(body, 4) << 32) | U32(body, 8));
        return new CapturedPacket(DateTimeOffset.UnixEpoch.AddTicks(nanoseconds / 100), (U32(options[2], 0) & 3) == 1, body[20..(20 + length)]);
    }

    private void End(uint type, byte[] body, int left)
    {
        (type, left).Should().Be((5, 0), "the statistics are last");
        Dictionary<int, byte[]> options = Options(body.AsSpan(12));
        (Received, Dropped) = (BitConverter.ToUInt64(options[4]), BitConverter.ToUInt64(options[5]));
    }

    private static (uint Type, byte[] Body) Next(ref ReadOnlySpan<byte> file)
    {
        int length = (int)U32(file, 4);
        (length % 4).Should().Be(0);
        U32(file, length - 4).Should().Be((uint)length, "a block says its length at both ends");
        (uint, byte[]) block = (U32(file, 0), file[8..(length - 4)].ToArray());
        file = file[length..];
        return block;
    }

    private static Dictionary<int, byte[]> Options(ReadOnlySpan<byte> bytes)
    {
        Dictionary<int, byte[]> options = [];
        while (U16(bytes, 0) is not 0 and var code)
        {
            int length = U16(bytes, 2);
            options.Add(code, bytes.Slice(4, length).ToArray());
            bytes = bytes[(4 + ((length + 3) / 4 * 4))..];
        }

        bytes.Length.Should().Be(4, "the end of the options is the end of the block");
        return options;
    }

    private static ushort U16(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt16LittleEndian(bytes[at..]);

    private static uint U32(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt32LittleEndian(bytes[at..]);
}

/// <summary>One packet of a capture.</summary>
internal sealed record CapturedPacket(DateTimeOffset Time, bool IsInbound, byte[] Bytes);
