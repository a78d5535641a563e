using System.Buffers.Binary;
using Vhost.Protocol;

namespace LiveMigration;

/// <summary>What a guest keeps in memory that no device sees: each page has its number and how often it was written in every eighth byte. The guest goes through it without end, and writes every fifth page that it reads.</summary>
internal sealed class GuestHeap
{
    private const ulong At = 4 << 20;
    private const int Pages = (int)((GuestRam.Size - At) / DirtyLog.PageSize);

    /// <summary>From one page to the next one: all over the heap, and each has its turn.</summary>
    private const int Step = 1021;

    private const int ReadsPerWrite = 5;

    private readonly byte[] _bytes = new byte[DirtyLog.PageSize];
    private readonly uint[] _writes = new uint[Pages];
    private int _next;
    private int _reads;

    public void Fill(GuestRam ram)
    {
        for (int page = 0; page < Pages; page++)
            Write(ram, page);
    }

    /// <summary>Looks at one page more.</summary>
    public void Touch(GuestRam ram)
    {
        Compare(ram, _next);
        if (++_reads % ReadsPerWrite == 0)
            Write(ram, _next);
        _next = (_next + Step) % Pages;
    }

    /// <summary>Looks at all of them.</summary>
    /// <returns>Bytes that are what they have to be.</returns>
    public long Verify(GuestRam ram)
    {
        for (int page = 0; page < Pages; page++)
            Compare(ram, page);
        return (long)(GuestRam.Size - At);
    }

    private void Write(GuestRam ram, int page)
    {
        _writes[page]++;
        for (int i = 0; i < _bytes.Length; i += 8)
            BinaryPrimitives.WriteUInt64LittleEndian(_bytes.AsSpan(i), Content(page));
        ram.Write(AddressOf(page), _bytes);
    }

    private void Compare(GuestRam ram, int page)
    {
        ram.Read(AddressOf(page), _bytes);
        for (int i = 0; i < _bytes.Length; i += 8)
        {
            if (BinaryPrimitives.ReadUInt64LittleEndian(_bytes.AsSpan(i)) != Content(page))
                throw new InvalidOperationException($"The guest's memory at 0x{AddressOf(page) + (ulong)i:x} has other bytes than were written last.");
        }
    }

    private ulong Content(int page) => ((ulong)page << 32) | _writes[page];

    private static ulong AddressOf(int page) => At + ((ulong)page * DirtyLog.PageSize);
}
