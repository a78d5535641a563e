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
    internal void Hold(ushort head, ushort tail, ushort count, in DriverRequest request) =>
        _held[head] = new Held { Tail = tail, Count = count, Request = request };

    /// <summary>Gives the descriptors of a request back. False when no request in flight has this head.</summary>
    internal bool TryRelease(ushort head, out DriverRequest request)
    {
        Cursor cursor = Open();
        bool released = cursor.TryRelease(head, out request);
        cursor.Close();
        return released;
    }

    /// <summary>Takes the record into local variables for a loop over many requests; nothing else may touch it before <see cref="Cursor.Close"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal Cursor Open() => new(this);

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

    /// <summary>The record in local variables.</summary>
    internal ref struct Cursor
    {
        private readonly DriverDescriptors _owner;
        private readonly ushort[] _next;
        private readonly Held[] _held;
        private ushort _freeHead;
        private ushort _freeTail;
        private int _free;

        internal Cursor(DriverDescriptors owner)
        {
            _owner = owner;
            _next = owner._next;
            _held = owner._held;
            _freeHead = owner._freeHead;
            _freeTail = owner._freeTail;
            _free = owner.Free;
        }

        /// <summary>Takes one descriptor for a request of one buffer; the caller has checked <see cref="Free"/>.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        internal ushort TakeSingle(ulong token, uint writable)
        {
            ushort index = _freeHead;
            ref Held held = ref _held[index];
            held.Request = new DriverRequest(token, writable);
            held.Tail = index;
            held.Count = 1;
            _freeHead = _next[index];
            _free--;
            return index;
        }

        /// <summary>Gives the descriptors of a request back. False when no request in flight has this head.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        internal bool TryRelease(uint head, out DriverRequest request)
        {
            Held[] all = _held;
            if (head >= (uint)all.Length || all[head].Count == 0)
            {
                request = default;
                return false;
            }

            ref Held held = ref all[head];
            request = held.Request;
            if (_free == 0)
                _freeHead = (ushort)head;
            else
                _next[_freeTail] = (ushort)head;
            _freeTail = held.Tail;
            _free += held.Count;
            held.Count = 0;
            return true;
        }

        /// <summary>Puts everything back into the record.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        internal readonly void Close()
        {
            _owner._freeHead = _freeHead;
            _owner._freeTail = _freeTail;
            _owner.Free = _free;
        }
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
