using System.Buffers.Binary;
using Microsoft.Win32.SafeHandles;
using Vhost.Tests.Support;

namespace Vhost.Conformance.Tests;

/// <summary>The memory of a hostile front-end with its one ring, written by the file: who cuts off memory must not touch it.</summary>
internal sealed class HostileRing(SafeFileHandle file, HostileScript script, int connection, CancellationToken ended)
{
    public const ushort Next = 1;
    public const ushort Write = 2;
    public const ushort Indirect = 4;

    private const uint HeaderSize = 16;
    private const uint BlockAndStatus = 513;

    /// <summary>How many connections there were before and with this one.</summary>
    public int Connection => connection;

    /// <summary>Whether the suite has ended the connection.</summary>
    public bool HasEnded => ended.IsCancellationRequested;

    public SafeFileHandle File => file;

    public uint Size => script.RingSize;

    public ulong Descriptors => script.RingAt;

    public ulong Available => Descriptors + (16UL * Size);

    public ulong Used => (Available + 6 + (2UL * Size) + 63) / 64 * 64;

    /// <summary>Where nothing of the ring is.</summary>
    public ulong Free => (Used + 6 + (8UL * Size) + 4095) / 4096 * 4096;

    public ushort UsedIndex => Read(Used + 2);

    /// <summary>Writes a descriptor; in a packed ring the last two words are the id and the flags.</summary>
    public void Describe(uint place, ulong address, uint length, ushort third, ushort fourth) => Describe(Descriptors, place, address, length, third, fourth);

    /// <summary>Writes a descriptor of a table.</summary>
    public void Describe(ulong table, uint place, ulong address, uint length, ushort third, ushort fourth)
    {
        byte[] bytes = new byte[16];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, address);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(8), length);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(12), third);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(14), fourth);
        RandomAccess.Write(file, bytes, (long)(table + (16UL * place)));
    }

    /// <summary>Describes a read of one block by the first two descriptors, and makes it available.</summary>
    public void AskForBlock()
    {
        DescribeBlock();
        Publish(1);
    }

    public void DescribeBlock()
    {
        Describe(0, Free, HeaderSize, Next, 1);
        Describe(1, Free + HeaderSize, BlockAndStatus, Write, 0);
    }

    /// <summary>Says that so many entries are available. Each names descriptor 0 unless it was written.</summary>
    public void Publish(ushort index)
    {
        byte[] bytes = new byte[2];
        BinaryPrimitives.WriteUInt16LittleEndian(bytes, index);
        RandomAccess.Write(file, bytes, (long)Available + 2);
    }

    /// <summary>Takes memory away, or gives it back.</summary>
    public void Resize(ulong length) => RandomAccess.SetLength(file, (long)length);

    /// <summary>Bytes of memory that it takes, whatever its length.</summary>
    public ulong Taken => FileHoles.BytesOf(file);

    private ushort Read(ulong at)
    {
        byte[] bytes = new byte[2];
        return RandomAccess.Read(file, bytes, (long)at) == bytes.Length ? BinaryPrimitives.ReadUInt16LittleEndian(bytes) : (ushort)0;
    }
}
