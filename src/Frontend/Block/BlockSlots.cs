using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// The shared memory of one queue's requests: for each slot a cache line with header and status, and a data buffer. Header and status share
/// the line since both sides touch both.
/// </summary>
internal sealed class BlockSlots
{
    internal const uint ControlSize = 64;
    private const uint StatusOffset = 32;
    private const byte NoStatus = (byte)BlockCompletion.InvalidAnswer;

    private readonly MappedWindow _control;
    private readonly MappedWindow _data;
    private readonly GuestBuffer[] _buffers;
    private readonly ulong _stride;

    internal BlockSlots(GuestMemory memory, GuestAddress at, int count, int bufferSize)
    {
        ulong dataAt = at.Value + ControlBytes(count);
        _stride = (ulong)bufferSize;
        if (!MappedWindow.TryOpen(memory, at, ControlBytes(count), out _control)
            || !MappedWindow.TryOpen(memory, new GuestAddress(dataAt), (ulong)count * _stride, out _data))
        {
            throw new ArgumentException("The slots are not inside one memory region.", nameof(at));
        }

        // Three buffers a slot, in the order of the chain: header, data, status.
        _buffers = new GuestBuffer[3 * count];
        for (int i = 0; i < count; i++)
        {
            ulong control = at.Value + ((ulong)i * ControlSize);
            _buffers[3 * i] = new GuestBuffer(new GuestAddress(control), VirtioBlkRequestHeader.Size);
            _buffers[(3 * i) + 1] = new GuestBuffer(new GuestAddress(dataAt + ((ulong)i * _stride)), (uint)bufferSize);
            _buffers[(3 * i) + 2] = new GuestBuffer(new GuestAddress(control + StatusOffset), 1);
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
        chain[1] = new GuestBuffer(chain[1].Address, length);
        return chain;
    }

    /// <summary>Writes the header, and a status that no device writes, so that a missing one is seen.</summary>
    internal void Prepare(int slot, in VirtioBlkRequestHeader header)
    {
        ulong control = (ulong)slot * ControlSize;
        _control.Write(control, header);
        _control.Write(control + StatusOffset, NoStatus);
    }

    internal VirtioBlkStatus ReadStatus(int slot) => (VirtioBlkStatus)_control.Read<byte>(((ulong)slot * ControlSize) + StatusOffset);

    internal void Write(int slot, ReadOnlySpan<byte> source, uint at) => _data.CopyFrom(source, Place(slot, (uint)source.Length, at));

    internal void Read(int slot, Span<byte> destination, uint at) => _data.CopyTo(Place(slot, (uint)destination.Length, at), destination);

    private static ulong ControlBytes(int count) => (((ulong)count * ControlSize) + 4095) / 4096 * 4096;

    private ulong Place(int slot, uint length, uint at)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((ulong)at + length, _stride);
        return ((ulong)slot * _stride) + at;
    }
}
