using System.Globalization;
using System.Numerics;
using Microsoft.Win32.SafeHandles;

namespace Vhost.Protocol;

/// <summary>
/// The dirty log of a migration: a bit for each page of 4096 bytes of guest memory, which a back-end sets when it has written there and a front-end takes and clears
/// (vhost-user specification, "Migration"). Page n is bit n mod 8 of byte n / 8. The memory is shared; each change of it is atomic.
/// </summary>
/// <remarks>
/// <para>Ownership: disposing gives up the creator's reference; a queue that still marks pages keeps the mapping until it has another log or ends.</para>
/// <para>Threading: all members may be used from any thread.</para>
/// </remarks>
public sealed unsafe class DirtyLog : IDisposable
{
    /// <summary>Bytes of a page.</summary>
    public const int PageSize = 4096;

    private const int WordBits = 32;
    private const int WordBytes = 4;

    private readonly byte* _bits;
    private long _outside;

    // Safety: the mapping is there as long as the memory; whoever follows the pointer holds it.
    private DirtyLog(SharedMemory memory)
    {
        Memory = memory;
        _bits = (byte*)memory.Address;
    }

    /// <summary>What is shared.</summary>
    public SharedMemory Memory { get; }

    /// <summary>Pages that the log has a bit for.</summary>
    public ulong PageCount => Memory.Length * 8;

    /// <summary>How often something was written, or told to be, that the log has no bit for: the front-end made it too small, or lies about where a ring is.</summary>
    public long Outside => Volatile.Read(ref _outside);

    /// <summary>Makes an empty log, in sealed memory, for guest memory up to an address.</summary>
    /// <param name="last">The last byte of guest memory.</param>
    /// <exception cref="LinuxException">The kernel refused the memory.</exception>
    public static DirtyLog Create(GuestAddress last) => new(SharedMemory.CreateSealed("vhost-user-log", BytesFor(last)));

    /// <summary>Maps the log that a front-end made.</summary>
    /// <param name="descriptor">Ownership passes to the log, also when the call fails.</param>
    /// <param name="offset">Where it begins in the file; need not be aligned.</param>
    /// <param name="length">Its bytes, greater than 0.</param>
    /// <param name="requireSealed">Refuse a descriptor that its owner could still shrink.</param>
    /// <exception cref="VhostUserProtocolException">The range is empty, wraps, or is not covered by the file; or it is not sealed.</exception>
    /// <exception cref="LinuxException">The kernel refused the mapping.</exception>
    public static DirtyLog Map(SafeFileHandle descriptor, ulong offset, ulong length, bool requireSealed = false) =>
        new(SharedMemory.Map(descriptor, offset, length, requireSealed));

    /// <summary>Bytes of a log for guest memory up to an address: whole words of 64 bits, as QEMU has it.</summary>
    /// <param name="last">The last byte of guest memory.</param>
    public static ulong BytesFor(GuestAddress last) => ((last.Value / PageSize / 64) + 1) * sizeof(ulong);

    /// <summary>Marks the pages of a range as written. What is outside the log is counted and else ignored.</summary>
    /// <param name="at">First byte.</param>
    /// <param name="length">Bytes; 0 marks nothing.</param>
    /// <exception cref="ObjectDisposedException">The log was disposed.</exception>
    public void Mark(GuestAddress at, ulong length)
    {
        Hold();
        try
        {
            MarkHeld(at.Value, length);
        }
        finally
        {
            Release();
        }
    }

    /// <summary>Takes and clears the bits of a range.</summary>
    /// <param name="from">Its first byte; bit 0 of the result is the page that this lies in.</param>
    /// <param name="length">Bytes; 0 takes nothing.</param>
    /// <param name="pages">Cleared, and then a bit is set for each page that was written since the last time. 64 pages to a word.</param>
    /// <returns>How many.</returns>
    /// <exception cref="ArgumentException">There is not a bit for each page in <paramref name="pages"/>.</exception>
    /// <exception cref="ObjectDisposedException">The log was disposed.</exception>
    public long Take(GuestAddress from, ulong length, Span<ulong> pages)
    {
        pages.Clear();
        if (length == 0)
            return 0;
        (ulong first, ulong last) = PagesOf(from.Value, length);
        if (last - first >= (ulong)pages.Length * 64)
            throw new ArgumentException(string.Create(CultureInfo.InvariantCulture, $"{last - first + 1} pages do not fit into {pages.Length} words."), nameof(pages));
        Hold();
        try
        {
            return first < PageCount ? TakeHeld(first, Math.Min(last, PageCount - 1), pages) : 0;
        }
        finally
        {
            Release();
        }
    }

    /// <summary>Marks here what is marked there, and clears it there.</summary>
    /// <param name="other">Another log.</param>
    /// <exception cref="ObjectDisposedException">A log was disposed.</exception>
    public void Take(DirtyLog other)
    {
        ArgumentNullException.ThrowIfNull(other);
        ulong[] pages = new ulong[64];
        for (ulong first = 0; first < other.PageCount; first += (ulong)pages.Length * 64)
        {
            if (other.Take(new GuestAddress(first * PageSize), (ulong)pages.Length * 64 * PageSize, pages) == 0)
                continue;
            for (int page = 0; page < pages.Length * 64; page++)
            {
                if ((pages[page / 64] >> (page % 64) & 1) != 0)
                    Mark(new GuestAddress((first + (ulong)page) * PageSize), 1);
            }
        }
    }

    /// <summary>Whether the page of an address is marked.</summary>
    /// <param name="at">Any byte of it.</param>
    /// <exception cref="ObjectDisposedException">The log was disposed.</exception>
    // Safety: the page was compared with the end of the log, whose mapping is held.
    public bool IsMarked(GuestAddress at)
    {
        ulong page = at.Value / PageSize;
        Hold();
        try
        {
            return page < PageCount && (Volatile.Read(ref _bits[page / 8]) & (1 << (int)(page % 8))) != 0;
        }
        finally
        {
            Release();
        }
    }

    /// <summary>Gives up the creator's reference.</summary>
    public void Dispose() => Memory.Dispose();

    /// <summary>Keeps the mapping until <see cref="Release"/>.</summary>
    internal void Hold()
    {
        bool success = false;
        Memory.Mapping.DangerousAddRef(ref success);
    }

    internal void Release() => Memory.Mapping.DangerousRelease();

    internal void CountOutside() => Interlocked.Increment(ref _outside);

    /// <summary>
    /// The same as <see cref="Mark"/> for whoever holds the mapping. Each change is a full fence: what was written to guest memory before is seen by whoever finds the bit set.
    /// A bit that is set already is set again all the same: whoever takes it between our look and our write would miss that write.
    /// </summary>
    // Safety: pages beyond the end of the log were cut off. A word is the aligned one around its bits: it lies in the same page of the mapping as they do.
    internal void MarkHeld(ulong at, ulong length)
    {
        if (length == 0)
            return;
        (ulong page, ulong last) = PagesOf(at, length);
        if (last >= PageCount)
        {
            CountOutside();
            if (page >= PageCount)
                return;
            last = PageCount - 1;
        }

        while (page <= last)
        {
            uint* word = WordOf(page, out int shift);
            int count = (int)Math.Min((ulong)(WordBits - shift), last - page + 1);
            Interlocked.Or(ref *word, MaskOf(count) << shift);
            page += (ulong)count;
        }
    }

    // Safety: as above; the caller has compared the pages with the end of the log and with the room for the result.
    private long TakeHeld(ulong first, ulong last, Span<ulong> pages)
    {
        long taken = 0;
        for (ulong page = first; page <= last;)
        {
            uint* word = WordOf(page, out int shift);
            int count = (int)Math.Min((ulong)(WordBits - shift), last - page + 1);
            uint mask = MaskOf(count) << shift;
            if ((Volatile.Read(ref *word) & mask) != 0)
            {
                uint bits = (Interlocked.And(ref *word, ~mask) & mask) >> shift;
                taken += BitOperations.PopCount(bits);
                Put(pages, page - first, bits);
            }

            page += (ulong)count;
        }

        return taken;
    }

    private static void Put(Span<ulong> pages, ulong at, uint bits)
    {
        int word = (int)(at / 64);
        int shift = (int)(at % 64);
        pages[word] |= (ulong)bits << shift;
        if (shift > 64 - WordBits && bits >> (64 - shift) is not 0 and var rest)
            pages[word + 1] |= rest;
    }

    // Safety: the page is inside the log; the log may begin anywhere in a page of the mapping, and an aligned word never reaches into another one.
    private uint* WordOf(ulong page, out int shift)
    {
        byte* at = _bits + (page / 8);
        nuint into = (nuint)at % WordBytes;
        shift = ((int)into * 8) + (int)(page % 8);
        return (uint*)(at - into);
    }

    private static uint MaskOf(int count) => uint.MaxValue >> (WordBits - count);

    private static (ulong First, ulong Last) PagesOf(ulong at, ulong length)
    {
        ulong last = at + (length - 1);
        return (at / PageSize, (last < at ? ulong.MaxValue : last) / PageSize);
    }
}
