using System.Buffers.Binary;
using System.Globalization;

namespace Vhost.Protocol;

/// <summary>Reads fields that were saved, little-endian, one after the other. The bytes may be anything: a field that does not fit is an <see cref="InvalidDataException"/> that says which and where.</summary>
internal ref struct SavedBytes(ReadOnlySpan<byte> bytes, string what)
{
    private readonly ReadOnlySpan<byte> _bytes = bytes;
    private readonly string _what = what;
    private int _at;

    /// <summary>Bytes that were not read yet.</summary>
    internal readonly int Left => _bytes.Length - _at;

    internal byte U8(string field) => Take(1, field)[0];

    internal ushort U16(string field) => BinaryPrimitives.ReadUInt16LittleEndian(Take(sizeof(ushort), field));

    internal uint U32(string field) => BinaryPrimitives.ReadUInt32LittleEndian(Take(sizeof(uint), field));

    internal ulong U64(string field) => BinaryPrimitives.ReadUInt64LittleEndian(Take(sizeof(ulong), field));

    /// <summary>A byte that says yes or no.</summary>
    internal bool Flag(string field)
    {
        byte value = U8(field);
        return value <= 1 ? value == 1 : throw Bad(field, value, "0 or 1");
    }

    /// <summary>A count of things of which each takes some bytes: more than there are bytes for is refused before anything is made of it.</summary>
    internal int Count(string field, int most, int bytesEach)
    {
        uint value = U32(field);
        return value <= most && value * (ulong)bytesEach <= (ulong)Left
            ? (int)value
            : throw Bad(field, value, string.Create(CultureInfo.InvariantCulture, $"at most {most}, of {bytesEach} bytes or more each with {Left} bytes left"));
    }

    internal ReadOnlySpan<byte> Take(int count, string field)
    {
        if (count > Left)
            throw new InvalidDataException(string.Create(CultureInfo.InvariantCulture, $"{_what}: {field} needs {count} bytes at {_at}, and {Left} are left."));
        _at += count;
        return _bytes.Slice(_at - count, count);
    }

    /// <summary>Everything was read.</summary>
    internal readonly void RequireEnd()
    {
        if (Left != 0)
            throw new InvalidDataException(string.Create(CultureInfo.InvariantCulture, $"{_what}: {Left} bytes are left behind the last field."));
    }

    /// <summary>A field that has a value which it cannot have.</summary>
    internal readonly InvalidDataException Bad(string field, ulong value, string allowed) =>
        new(string.Create(CultureInfo.InvariantCulture, $"{_what}: {field} is {value}: must be {allowed}."));
}
