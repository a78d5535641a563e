using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vhost.Frontend;

/// <summary>
/// The driver's private record of which descriptors are free and which request holds which. The device can write to the table in shared memory,
/// so nothing is ever read back from there.
/// </summary>
internal sealed class DriverDescriptors
{
    private readonly ushort[] _next;
    private readonly Held[] _held;
    private readonly bool _sparing;
    private ushort _freeHead;
    private ushort _freeTail;

    /// <summary>The first descriptor that was never listed as free, since there were always enough without it; all behind it are like it.</summary>
    private int _untouched;

    /// <summary>All descriptors free.</summary>
    /// <param name="size">Entries of the ring.</param>
    /// <param name="sparing">
    /// Whether a descriptor is touched for the first time only when there is no other: a driver that sends the same requests again and again then always finds the
    /// descriptors of last time, and need not write them. Not for IN_ORDER.
    /// </param>
    /// <remarks>
    /// First in, first out: descriptors are taken in table order, as IN_ORDER demands, and while the device answers in order an entry of the available ring
    /// always names the same descriptor and need not be written again.
    /// </remarks>
    internal DriverDescriptors(int size, bool sparing)
    {
        _sparing = sparing;
        _next = new ushort[size];
        _held = new Held[size];
        Reset();
    }

    internal int Free => Listed + _next.Length - _untouched;

    /// <summary>Descriptors that can be taken without <see cref="Ensure"/>.</summary>
    private int Listed { get; set; }

    /// <summary>The descriptor that the next <see cref="Take"/> gives.</summary>
    internal ushort NextFree => _freeHead;

    /// <summary>Makes as many ready to be taken; the caller has checked <see cref="Free"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Ensure(int count)
    {
        if (Listed < count)
        {
            List(count - Listed);
        }
    }

    /// <summary>Takes one descriptor that is ready.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal ushort Take()
    {
        ushort index = _freeHead;
        _freeHead = _next[index];
        Listed--;
        return index;
    }

    /// <summary>Records a request whose descriptors were just taken, <paramref name="head"/> first.</summary>
    // Field by field: a whole value is put together on the stack in small stores and read back in larger ones, which then wait until all stores before them have reached the cache.
    internal void Hold(ushort head, ushort tail, ushort count, in DriverRequest request)
    {
        ref Held held = ref _held[head];
        held.Tail = tail;
        held.Count = count;
        held.Request = new DriverRequest(request.Token, request.Writable);
    }

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
        Array.Clear(_held);
        _untouched = 0;
        Listed = 0;
        if (!_sparing)
        {
            List(_next.Length);
        }
    }

    private void List(int count)
    {
        for (; count > 0; count--)
        {
            ushort index = (ushort)_untouched++;
            if (Listed == 0)
            {
                _freeHead = index;
            }
            else
            {
                _next[_freeTail] = index;
            }

            _freeTail = index;
            Listed++;
        }
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
            _free = owner.Listed;
        }

        /// <summary>Takes one descriptor that is ready, for a request of one buffer.</summary>
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
            _owner.Listed = _free;
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
