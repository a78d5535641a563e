using System.Globalization;

namespace Vhost.Protocol;

/// <summary>A MAC address of six bytes.</summary>
/// <param name="Value">The bytes as they follow each other on the wire, the first one in the lowest eight bits: the payload of SEND_RARP.</param>
public readonly record struct MacAddress(ulong Value)
{
    /// <summary>Bytes.</summary>
    public const int Size = 6;

    private const ulong Mask = 0xFFFF_FFFF_FFFF;

    /// <summary>All bits set: every station.</summary>
    public static MacAddress Broadcast => new(Mask);

    /// <summary>The address is for more than one station.</summary>
    public bool IsMulticast => (Value & 1) != 0;

    /// <summary>Reads the first six bytes.</summary>
    /// <returns>False when there are fewer.</returns>
    public static bool TryRead(ReadOnlySpan<byte> source, out MacAddress value)
    {
        bool fits = source.Length >= Size;
        ulong bytes = 0;
        for (int i = 0; fits && i < Size; i++)
            bytes |= (ulong)source[i] << (8 * i);
        value = new MacAddress(bytes);
        return fits;
    }

    /// <summary>Reads six bytes in hexadecimal, separated by colons, as in <c>02:00:00:00:00:01</c>.</summary>
    /// <returns>False when the text is something else.</returns>
    public static bool TryParse(string? text, out MacAddress value)
    {
        value = default;
        string[] parts = text?.Split(':') ?? [];
        if (parts.Length != Size)
            return false;
        ulong bytes = 0;
        for (int i = 0; i < Size; i++)
        {
            if (parts[i].Length != 2 || !byte.TryParse(parts[i], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out byte one))
                return false;
            bytes |= (ulong)one << (8 * i);
        }

        value = new MacAddress(bytes);
        return true;
    }

    /// <summary>A random address of one station, marked as locally administered.</summary>
    public static MacAddress Random() => new(((ulong)System.Random.Shared.NextInt64() & Mask & ~1UL) | 2);

    /// <summary>Writes six bytes.</summary>
    /// <exception cref="ArgumentException">The destination is smaller.</exception>
    public void Write(Span<byte> destination)
    {
        destination = PayloadSizes.Exactly(destination, Size);
        for (int i = 0; i < Size; i++)
            destination[i] = (byte)(Value >> (8 * i));
    }

    /// <summary>Six bytes in hexadecimal, separated by colons.</summary>
    public override string ToString()
    {
        Span<byte> b = stackalloc byte[Size];
        Write(b);
        return string.Create(CultureInfo.InvariantCulture, $"{b[0]:x2}:{b[1]:x2}:{b[2]:x2}:{b[3]:x2}:{b[4]:x2}:{b[5]:x2}");
    }
}
