using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vhost.Frontend;

/// <summary>
/// The driver's private record of which descriptors are free and which request holds which. The device can write to the table in shared memory,
/// so nothing is ever read back from there.
/// </summary>
internal sealed class DriverDescriptors
{
    private const ushort None = ushort.MaxValue;

    private readonly ushort[] _next;
    private readonly Held[] _held;
    private ushort _freeHead;
    private ushort _freeTail;

    /// <summary>All descriptors free.</summary>
    /// <param name="size">Entries of the ring.</param>
    /// <remarks>
    /// First in, first out: descriptors are taken in table order, as IN_ORDER demands, and while the device answers in order an entry of the available ring
    /// always names the same descriptor and need not be written again.
    /// </remarks>
    internal DriverDescriptors(int size)
    {
        _next = new ushort[size];
        _held = new Held[size];
        Reset();
    }

    internal int Free { get; private set; }

    /// <summary>The descriptor that the next <see cref="Take"/> gives.</summary>
    internal ushort NextFree => _freeHead;

    /// <summary>Takes one descriptor; the caller has checked <see cref="Free"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal ushort Take()
    {
        ushort index = _freeHead;
        _freeHead = _next[index];
        Free--;
        return index;
    }

    /// <summary>Records a request whose descriptors were just taken, <paramref name="head"/> first.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Hold(ushort head, ushort tail, ushort count, in DriverRequest request) =>
        _held[head] = new Held { Tail = tail, Count = count, Request = request };

    /// <summary>Gives the descriptors of a request back. False when no request in flight has this head.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool TryRelease(ushort head, out DriverRequest request)
    {
        ref Held held = ref _held[head];
        request = held.Request;
        if (held.Count == 0)
        {
            return false;
        }

        Link(head, held.Tail, held.Count);
        held.Count = 0;
        return true;
    }

    internal void Reset()
    {
        for (int i = 0; i < _next.Length; i++)
        {
            _next[i] = i + 1 < _next.Length ? (ushort)(i + 1) : None;
        }

        Array.Clear(_held);
        _freeHead = 0;
        _freeTail = (ushort)(_next.Length - 1);
        Free = _next.Length;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Link(ushort head, ushort tail, int count)
    {
        if (Free == 0)
        {
            _freeHead = head;
            _freeTail = tail;
            _next[tail] = None;
        }
        else
        {
            _next[_freeTail] = head;
            _freeTail = tail;
            _next[tail] = None;
        }

        Free += count;
    }

    [StructLayout(LayoutKind.Auto)]
    private struct Held
    {
        public DriverRequest Request;
        public ushort Tail;

        /// <summary>Descriptors held; 0 means no request in flight has this head.</summary>
        public ushort Count;
    }
}
