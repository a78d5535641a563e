using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>
/// Memory that a front-end lends, and may take away again: its file need not be sealed. So it is never touched. The kernel copies from and to it, of what is gone it says so instead of ending the suite
/// by a signal, and the case fails.
/// </summary>
/// <remarks>Each copy is a system call, which orders it behind the one before. The kernel may copy two bytes one by one, and an aligned word of four at once: an index that the other side looks at is copied as a word.</remarks>
internal sealed class LentMemory : IDisposable
{
    private const string OwnMemory = "/proc/self/mem";

    private readonly GuestMemory _memory;
    private readonly GuestMemoryLease _lease;
    private readonly SafeFileHandle _kernel;
    private readonly TouchedPages _touched;

    /// <param name="memory">Where it is mapped, which costs nothing yet. Owned from here on.</param>
    /// <param name="kernel">What <see cref="OpenKernel"/> opened. Borrowed.</param>
    /// <param name="touched">What the case has used until now. Borrowed.</param>
    public LentMemory(GuestMemory memory, SafeFileHandle kernel, TouchedPages touched) => (_memory, _lease, _kernel, _touched) = (memory, memory.Acquire(), kernel, touched);

    /// <summary>Opens the way by which the kernel copies.</summary>
    /// <exception cref="InvalidOperationException">This process may not, or there is no /proc.</exception>
    public static SafeFileHandle OpenKernel()
    {
        try
        {
            return File.OpenHandle(OwnMemory, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            throw new InvalidOperationException($"{OwnMemory} cannot be opened, without which the memory of a front-end cannot be read safely.", failure);
        }
    }

    /// <summary>Whether every byte of a range was lent, in one region or in several adjacent ones.</summary>
    public bool Contains(ulong guestAddress, ulong length) => _lease.IsMapped(new GuestAddress(guestAddress), length);

    /// <summary>The guest address of a range that lies in one region.</summary>
    public bool TryTranslate(UserAddress user, ulong length, out ulong guestAddress)
    {
        bool found = _memory.TryTranslate(user, length, out GuestAddress guest);
        guestAddress = guest.Value;
        return found;
    }

    /// <summary>Reads one value, once.</summary>
    public T Read<T>(ulong guestAddress)
        where T : unmanaged
    {
        T value = default;
        Read(guestAddress, MemoryMarshal.AsBytes(new Span<T>(ref value)));
        return value;
    }

    /// <summary>Writes one value.</summary>
    public void Write<T>(ulong guestAddress, T value)
        where T : unmanaged =>
        Write(guestAddress, MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value)));

    /// <summary>Copies out.</summary>
    public void Read(ulong guestAddress, Span<byte> into)
    {
        Require(guestAddress, into.Length);
        while (!into.IsEmpty)
        {
            int count = Place(guestAddress, into.Length, out long place);
            Expect.That(Reads(into[..count], place), $"the memory at 0x{guestAddress:x} can be read", "it was taken away");
            into = into[count..];
            guestAddress += (uint)count;
        }
    }

    /// <summary>Copies in.</summary>
    public void Write(ulong guestAddress, ReadOnlySpan<byte> bytes)
    {
        Require(guestAddress, bytes.Length);
        while (!bytes.IsEmpty)
        {
            int count = Place(guestAddress, bytes.Length, out long place);
            Expect.That(Writes(bytes[..count], place), $"the memory at 0x{guestAddress:x} can be written", "it was taken away");
            bytes = bytes[count..];
            guestAddress += (uint)count;
        }
    }

    public void Dispose()
    {
        _lease.Dispose();
        _memory.Dispose();
    }

    private void Require(ulong guestAddress, int length) =>
        Expect.That(Contains(guestAddress, (uint)length), "rings and buffers in the shared memory", $"{length} bytes at 0x{guestAddress:x}");

    /// <summary>Where a byte that was lent is mapped, and how many of those from there on lie behind it, which are touched now.</summary>
    private int Place(ulong guestAddress, int most, out long place)
    {
        _memory.ByGuest.TryFind(guestAddress, 0, out int index, out ulong offset);
        GuestMemoryRegion region = _memory.ByGuest[index];
        place = region.Memory.Address + (long)offset;
        int count = (int)Math.Min((uint)most, region.Size - offset);
        _touched.Add(place, count);
        return count;
    }

    private bool Reads(Span<byte> into, long place)
    {
        try
        {
            return RandomAccess.Read(_kernel, into, place) == into.Length;
        }
        catch (IOException)
        {
            return false;
        }
    }

    private bool Writes(ReadOnlySpan<byte> bytes, long place)
    {
        try
        {
            RandomAccess.Write(_kernel, bytes, place);
            return true;
        }
        catch (IOException)
        {
            return false;
        }
    }
}
