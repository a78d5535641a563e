using System.Buffers.Binary;

namespace Vhost.Protocol;

/// <summary>
/// Configuration space of a console device (virtio 1.2, 5.3.4), little-endian. A field means something only when its feature, named in brackets, is negotiated.
/// </summary>
public readonly record struct VirtioConsoleConfig
{
    /// <summary>Bytes of the structure.</summary>
    public const int Size = 12;

    /// <summary>Offset of emerg_wr, the one field a driver may write: the character, in four bytes.</summary>
    public const int EmergencyWriteOffset = 8;

    /// <summary>Size of the console of port 0 (SIZE); offsets 0 and 2.</summary>
    public ConsoleSize Console { get; init; }

    /// <summary>Most ports (MULTIPORT); offset 4.</summary>
    public uint MaxPorts { get; init; }

    /// <summary>Reads the structure.</summary>
    /// <param name="source">Configuration space from offset 0.</param>
    /// <param name="value">The structure.</param>
    /// <returns>False when it is shorter than what is read of it, 8 bytes.</returns>
    public static bool TryRead(ReadOnlySpan<byte> source, out VirtioConsoleConfig value)
    {
        bool fits = source.Length >= EmergencyWriteOffset;
        value = !fits ? default : new VirtioConsoleConfig
        {
            Console = new ConsoleSize(BinaryPrimitives.ReadUInt16LittleEndian(source), BinaryPrimitives.ReadUInt16LittleEndian(source[2..])),
            MaxPorts = BinaryPrimitives.ReadUInt32LittleEndian(source[4..]),
        };
        return fits;
    }

    /// <summary>Writes the structure.</summary>
    /// <param name="destination">At least <see cref="Size"/> bytes.</param>
    public void Write(Span<byte> destination)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(destination, Console.Columns);
        BinaryPrimitives.WriteUInt16LittleEndian(destination[2..], Console.Rows);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[4..], MaxPorts);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[EmergencyWriteOffset..], 0);
    }
}
