using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// The shared memory of one queue's requests: for each slot a header, a status and a data buffer. Neighbouring slots share the cache lines of their headers, and that
/// of their statuses: requests that are shown together then travel together.
/// </summary>
internal sealed class BlockSlots
{
    /// <summary>Slots whose headers take two lines and whose statuses a third.</summary>
    private const int GroupSize = 8;

    private const uint StatusOffset = GroupSize * VirtioBlkRequestHeader.Size;
    private const uint GroupBytes = StatusOffset + 64;
    private const byte NoStatus = (byte)BlockCompletion.InvalidAnswer;

    /// <summary>Of so many slots header and status lie in the lines of the ring's indices: whoever has few requests out has them with the index.</summary>
    private const int FirstSlots = (int)DriverRingPlace.AvailableLead / VirtioBlkRequestHeader.Size;

    private readonly MappedWindow _control;
    private readonly MappedWindow _data;
    private readonly GuestBuffer[] _buffers;
    private readonly ulong _controlAt;
    private readonly ulong _stride;

    /// <summary>Lays the slots out.</summary>
    /// <param name="memory">The memory of ring and slots, one region.</param>
    /// <param name="ring">The ring, which lies in front of the slots.</param>
    /// <param name="at">Where the slots begin; <see cref="SizeInBytes"/> bytes are theirs.</param>
    /// <param name="count">Slots.</param>
    /// <param name="bufferSize">Bytes of each slot's data buffer.</param>
    internal BlockSlots(GuestMemory memory, in DriverRingPlace ring, GuestAddress at, int count, int bufferSize)
    {
        ulong dataAt = at.Value + ControlBytes(count);
        _stride = (ulong)bufferSize;
        _controlAt = ring.Descriptors.Value;
        if (!MappedWindow.TryOpen(memory, ring.Descriptors, dataAt - _controlAt, out _control)
            || !MappedWindow.TryOpen(memory, new GuestAddress(dataAt), (ulong)count * _stride, out _data))
        {
            throw new ArgumentException("The slots are not inside one memory region.", nameof(at));
        }

        // Three buffers a slot, in the order of the chain: header, data, status.
        _buffers = new GuestBuffer[3 * count];
        for (int i = 0; i < count; i++)
        {
            (ulong header, ulong status) = ring.HasLeads && i < FirstSlots
                ? (ring.DriverPart.Value - DriverRingPlace.AvailableLead + ((ulong)i * VirtioBlkRequestHeader.Size), ring.DevicePart.Value - DriverRingPlace.UsedLead + (ulong)i)
                : (at.Value + HeaderAt(i), at.Value + StatusAt(i));
            _buffers[3 * i] = new GuestBuffer(new GuestAddress(header), VirtioBlkRequestHeader.Size);
            _buffers[(3 * i) + 1] = new GuestBuffer(new GuestAddress(dataAt + ((ulong)i * _stride)), (uint)bufferSize);
            _buffers[(3 * i) + 2] = new GuestBuffer(new GuestAddress(status), 1);
            _control.Write(Place(Status(i)), NoStatus);
        }
    }

    internal static ulong SizeInBytes(int count, int bufferSize) => ControlBytes(count) + ((ulong)count * (ulong)bufferSize);

    internal GuestBuffer Header(int slot) => _buffers[3 * slot];

    internal GuestBuffer Data(int slot) => _buffers[(3 * slot) + 1];

    internal GuestBuffer Status(int slot) => _buffers[(3 * slot) + 2];

    /// <summary>Header, data and status of a slot, the data cut to some length; the chain of a plain request.</summary>
    internal ReadOnlySpan<GuestBuffer> Chain(int slot, uint length)
    {
        Span<GuestBuffer> chain = _buffers.AsSpan(3 * slot, 3);
        ref GuestBuffer data = ref chain[1];
        if (data.Length != length)
            data = new GuestBuffer(data.Address, length);
        return chain;
    }

    internal void WriteHeader(int slot, in VirtioBlkRequestHeader header) => _control.Write(Place(Header(slot)), header);

    /// <summary>Asks for a status that will be read soon: all of a burst at once, where each would wait for the one before it.</summary>
    internal void AskForStatus(int slot) => _control.Prefetch(Place(Status(slot)));

    /// <summary>
    /// Reads the status, and leaves one there that no device writes, so that it is seen when the next request gets none. Now and not before the next request, which would
    /// take the line from a device that is answering the slots beside this one.
    /// </summary>
    internal VirtioBlkStatus TakeStatus(int slot)
    {
        ulong place = Place(Status(slot));
        byte status = _control.Read<byte>(place);
        _control.Write(place, NoStatus);
        return (VirtioBlkStatus)status;
    }

    internal void Write(int slot, ReadOnlySpan<byte> source, uint at) => _data.CopyFrom(source, Place(slot, (uint)source.Length, at));

    internal void Read(int slot, Span<byte> destination, uint at) => _data.CopyTo(Place(slot, (uint)destination.Length, at), destination);

    private static ulong ControlBytes(int count) => (((((ulong)count + (GroupSize - 1)) / GroupSize) * GroupBytes) + 4095) / 4096 * 4096;

    private static ulong HeaderAt(int slot) => ((uint)slot / GroupSize * GroupBytes) + ((uint)slot % GroupSize * VirtioBlkRequestHeader.Size);

    private static ulong StatusAt(int slot) => ((uint)slot / GroupSize * GroupBytes) + StatusOffset + ((uint)slot % GroupSize);

    private ulong Place(GuestBuffer control) => control.Address.Value - _controlAt;

    private ulong Place(int slot, uint length, uint at)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((ulong)at + length, _stride);
        return ((ulong)slot * _stride) + at;
    }
}
