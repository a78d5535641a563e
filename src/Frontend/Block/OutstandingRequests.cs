using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// What every slot in flight asks for, as the driver said it: what stands in shared memory the lost back-end could have changed. Nothing is allocated but for requests with buffers of the
/// caller's own, once for each slot.
/// </summary>
internal sealed class OutstandingRequests(int slots)
{
    private readonly Entry[] _entries = new Entry[slots];
    private ulong _next;

    internal ref readonly Entry this[int slot] => ref _entries[slot];

    /// <summary>A request over the slot's own buffer was submitted.</summary>
    internal void Note(int slot, in VirtioBlkRequestHeader header, uint length, bool deviceWrites)
    {
        ref Entry entry = ref _entries[slot];
        (entry.Number, entry.Header, entry.Length, entry.DeviceWrites) = (_next++, header, length, deviceWrites);
        entry.Buffers = 0;
    }

    /// <summary>A request over any buffers was submitted.</summary>
    internal void Note(int slot, in VirtioBlkRequestHeader header, ReadOnlySpan<GuestBuffer> readable, ReadOnlySpan<GuestBuffer> writable)
    {
        ref Entry entry = ref _entries[slot];
        (entry.Number, entry.Header, entry.ReadableBuffers, entry.Buffers) = (_next++, header, readable.Length, readable.Length + writable.Length);
        if (entry.Gathered is null || entry.Gathered.Length < entry.Buffers)
            entry.Gathered = new GuestBuffer[entry.Buffers];
        readable.CopyTo(entry.Gathered);
        writable.CopyTo(entry.Gathered.AsSpan(readable.Length));
    }

    /// <summary>The slots in flight, in the order in which their requests were made.</summary>
    /// <param name="expected">For each slot, <paramref name="free"/> when it is not in flight.</param>
    /// <param name="free">What marks a free slot.</param>
    internal int[] InOrder(ulong[] expected, ulong free) =>
        [.. Enumerable.Range(0, _entries.Length).Where(slot => expected[slot] != free).OrderBy(slot => _entries[slot].Number)];

    /// <summary>One request.</summary>
    internal struct Entry
    {
        internal ulong Number;
        internal VirtioBlkRequestHeader Header;
        internal uint Length;
        internal bool DeviceWrites;
        internal GuestBuffer[]? Gathered;

        /// <summary>Buffers of a request that has its own; 0: it uses the slot's.</summary>
        internal int Buffers;
        internal int ReadableBuffers;

        /// <summary>Whether doing it once more changes nothing.</summary>
        internal readonly bool IsRepeatable => Header.Type is VirtioBlkRequestType.In or VirtioBlkRequestType.Out or VirtioBlkRequestType.Flush or VirtioBlkRequestType.GetId
            or VirtioBlkRequestType.GetLifetime or VirtioBlkRequestType.Discard or VirtioBlkRequestType.WriteZeroes or VirtioBlkRequestType.SecureErase;
    }
}
