using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Vhost.Protocol;

/// <summary>The head of a control message of a console device (virtio 1.2, 5.3.6.2), little-endian.</summary>
/// <param name="Port">Which port: any number, until it is checked.</param>
/// <param name="Event">What is said.</param>
/// <param name="Value">Of some events, 1 or 0.</param>
[StructLayout(LayoutKind.Auto)]
public readonly record struct VirtioConsoleControl(uint Port, VirtioConsoleEvent Event, ushort Value)
{
    /// <summary>Bytes of the head.</summary>
    public const int Size = 8;

    /// <summary>Bytes that follow the head of a <see cref="VirtioConsoleEvent.Resize"/>.</summary>
    public const int ResizeSize = 4;

    /// <summary>The longest name that is sent, in bytes of UTF-8.</summary>
    public const int MaxName = 128;

    /// <summary>Reads the head.</summary>
    /// <param name="source">A message.</param>
    /// <param name="value">The head.</param>
    /// <returns>False when the message is shorter than <see cref="Size"/>.</returns>
    public static bool TryRead(ReadOnlySpan<byte> source, out VirtioConsoleControl value)
    {
        bool fits = source.Length >= Size;
        value = !fits ? default : new VirtioConsoleControl(
            BinaryPrimitives.ReadUInt32LittleEndian(source),
            (VirtioConsoleEvent)BinaryPrimitives.ReadUInt16LittleEndian(source[4..]),
            BinaryPrimitives.ReadUInt16LittleEndian(source[6..]));
        return fits;
    }

    /// <summary>Reads what follows the head of a <see cref="VirtioConsoleEvent.Resize"/>.</summary>
    /// <param name="message">The whole message.</param>
    /// <param name="size">Columns and rows, in the order of the specification.</param>
    /// <returns>False when the message is too short.</returns>
    public static bool TryReadSize(ReadOnlySpan<byte> message, out ConsoleSize size)
    {
        bool fits = message.Length >= Size + ResizeSize;
        size = fits ? new ConsoleSize(BinaryPrimitives.ReadUInt16LittleEndian(message[Size..]), BinaryPrimitives.ReadUInt16LittleEndian(message[(Size + 2)..])) : default;
        return fits;
    }

    /// <summary>Writes what follows the head of a <see cref="VirtioConsoleEvent.Resize"/>.</summary>
    /// <param name="message">The whole message; at least <see cref="Size"/> + <see cref="ResizeSize"/> bytes.</param>
    /// <param name="size">Columns and rows.</param>
    public static void WriteSize(Span<byte> message, ConsoleSize size)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(message[Size..], size.Columns);
        BinaryPrimitives.WriteUInt16LittleEndian(message[(Size + 2)..], size.Rows);
    }

    /// <summary>Writes the head.</summary>
    /// <param name="destination">At least <see cref="Size"/> bytes.</param>
    public void Write(Span<byte> destination)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(destination, Port);
        BinaryPrimitives.WriteUInt16LittleEndian(destination[4..], (ushort)Event);
        BinaryPrimitives.WriteUInt16LittleEndian(destination[6..], Value);
    }
}
