using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;

namespace Vhost.Protocol;

/// <summary>What the queues do with a buffer.</summary>
public sealed partial class PacketBuffer
{
    internal ulong OffloadWord => _offload;

    internal ushort ChecksumOffset => _checksumOffset;

    internal bool IsLinear => _next is null;

    /// <summary>Readies the buffer for a packet of one piece, which the caller then copies to <see cref="Address"/>. False when it does not fit, and nothing has changed.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool TryPrepare(uint length)
    {
        int offset = Pool.Headroom;
        if (length > (uint)(_size - offset))
            return false;
        if (_next is not null)
            ReleaseNext();
        _offset = offset;
        _length = (int)length;
        return true;
    }

    /// <summary>A burst that names no buffer where it should: perhaps fewer were rented than asked for.</summary>
    [DoesNotReturn]
    internal static void ThrowMissing(int index) => throw new ArgumentException(FormattableString.Invariant($"Buffer {index} of the burst is null."));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void SetOffload(ulong word, ushort checksumOffset)
    {
        _offload = word;
        _checksumOffset = checksumOffset;
    }

    /// <summary>Hangs one more buffer of the pool behind this one. False when the pool is empty.</summary>
    internal bool TryExtend([NotNullWhen(true)] out PacketBuffer? next)
    {
        if (!Pool.TryRent(out next))
            return false;
        _next = next;
        return true;
    }

    /// <summary>Makes the packet a copy of another one, of its data and of what is left to do. False, and the packet empty, when the pool has not enough buffers.</summary>
    internal bool TryCopyFrom(PacketBuffer source)
    {
        Reset();
        PacketReader reader = new(source);
        PacketBuffer part = this;
        for (int left = source.PacketLength; ;)
        {
            int count = Math.Min(left, part.Tailroom);
            reader.CopyTo(part.AppendAddress(count), (uint)count);
            left -= count;
            if (left == 0)
                break;
            if (!part.TryExtend(out part!))
                return ResetAndFail();
        }

        SetOffload(source._offload, source._checksumOffset);
        return true;
    }

    /// <summary>Replaces what hangs on the buffer.</summary>
    internal void Hang(PacketBuffer? next) => _next = next;

    internal bool ResetAndFail()
    {
        Reset();
        return false;
    }

    private void ReleaseNext()
    {
        if (_next is { } next)
        {
            _next = null;
            next.Pool.Return(next);
        }
    }

    /// <summary>Makes the data longer at its end, for a copy to the address returned; the caller has compared with <see cref="Tailroom"/>.</summary>
    internal nint AppendAddress(int count)
    {
        nint at = _address + _offset + _length;
        _length += count;
        return at;
    }

    private bool IsChecksumInside => (long)(_offload >> 48) + _checksumOffset + sizeof(ushort) <= PacketLength;

    private void Put(int position, byte value)
    {
        PacketBuffer part = this;
        while (position >= part._length)
        {
            position -= part._length;
            part = part._next!;
        }

        part.Data[position] = value;
    }
}
