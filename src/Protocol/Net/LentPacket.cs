using System.Runtime.InteropServices;

namespace Vhost.Protocol;

/// <summary>
/// A received packet that was not copied: it lies in the other side's buffers, which are lent to the application until <see cref="Release"/>. What DPDK once had as
/// dequeue zero-copy.
/// </summary>
/// <remarks>
/// <para>The other side may change the bytes at any time: every access copies, and what was decided upon must be the copy. Length and offload were read once and checked
/// when the packet was lent, and stay.</para>
/// <para>The packet keeps the memory mapped. Release it soon: the other side has no use of the buffers until then, and a session that removes or replaces memory, or
/// stops the queue, waits for it (at most the drain time-out). Releasing after the queue was stopped or the session lost is harmless, and needed all the same.</para>
/// <para>Threading: any thread; several may read at once. After the release, or while another thread reads, a call throws; a copy of the struct is the same packet.</para>
/// </remarks>
[StructLayout(LayoutKind.Auto)]
public readonly struct LentPacket : IEquatable<LentPacket>
{
    private readonly LentBuffer? _buffer;
    private readonly long _turn;
    private readonly ulong _offload;
    private readonly ushort _checksumOffset;

    internal LentPacket(LentBuffer buffer, long turn, int length, ulong offload, ushort checksumOffset)
    {
        _buffer = buffer;
        _turn = turn;
        Length = length;
        _offload = offload;
        _checksumOffset = checksumOffset;
    }

    /// <summary>Bytes of the packet, 1 to 65550.</summary>
    public int Length { get; }

    /// <summary>What is left to do to the packet.</summary>
    public PacketOffload Offload => PacketOffload.FromWords(_offload, _checksumOffset);

    /// <summary>Whether the packet was not released yet.</summary>
    public bool IsLent => _buffer is not null && _buffer.IsLent(_turn);

    /// <summary>Copies bytes of the packet out.</summary>
    /// <param name="destination">Filled from the start.</param>
    /// <param name="offset">First byte of the packet to copy, 0 to <see cref="Length"/>.</param>
    /// <returns>The bytes copied: as many as both have.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The offset is beyond the end.</exception>
    /// <exception cref="InvalidOperationException">The packet was released.</exception>
    public int CopyTo(Span<byte> destination, int offset = 0)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offset, Length);
        LentBuffer buffer = Enter();
        try
        {
            return buffer.Bytes.Slice((uint)offset).CopyTo(destination);
        }
        finally
        {
            buffer.Leave();
        }
    }

    /// <summary>Makes a packet of our own a copy of this one, with what is left to do to it, in as many buffers as it takes.</summary>
    /// <param name="packet">What was in it is gone.</param>
    /// <returns>False, and the packet empty, when its pool has not enough buffers.</returns>
    /// <exception cref="InvalidOperationException">The packet was released.</exception>
    public bool TryCopyTo(PacketBuffer packet)
    {
        ArgumentNullException.ThrowIfNull(packet);
        LentBuffer buffer = Enter();
        try
        {
            if (!buffer.Bytes.TryCopyTo(packet))
                return false;
            packet.SetOffload(_offload, _checksumOffset);
            return true;
        }
        finally
        {
            buffer.Leave();
        }
    }

    /// <summary>Gives the buffers back to the other side. Exactly once.</summary>
    /// <exception cref="InvalidOperationException">The packet was released before, or another thread reads it.</exception>
    public void Release()
    {
        if (_buffer is null)
            throw LentBuffer.Released();
        _buffer.Release(_turn, tell: true);
    }

    /// <summary>
    /// Gives the buffers of several packets back at once: whoever lent them hears of it once, and shows them to the other side together.
    /// </summary>
    /// <param name="packets">Packets of any queues, each released exactly once.</param>
    /// <exception cref="InvalidOperationException">One was released before, or another thread reads it; those before it are released.</exception>
    public static void ReleaseBurst(ReadOnlySpan<LentPacket> packets)
    {
        ILender? owner = null;
        try
        {
            foreach (ref readonly LentPacket packet in packets)
            {
                LentBuffer buffer = packet._buffer ?? throw LentBuffer.Released();
                ILender next = buffer.Owner;
                if (!ReferenceEquals(next, owner))
                {
                    owner?.TakeBackSoon();
                    owner = null;
                }

                buffer.Release(packet._turn, tell: false);
                owner = next;
            }
        }
        finally
        {
            owner?.TakeBackSoon();
        }
    }

    /// <inheritdoc/>
    public bool Equals(LentPacket other) => ReferenceEquals(_buffer, other._buffer) && _turn == other._turn;

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is LentPacket other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(_buffer, _turn);

    /// <summary>Whether both stand for the same packet.</summary>
    public static bool operator ==(LentPacket left, LentPacket right) => left.Equals(right);

    /// <summary>Whether the two stand for different packets.</summary>
    public static bool operator !=(LentPacket left, LentPacket right) => !left.Equals(right);

    private LentBuffer Enter()
    {
        LentBuffer buffer = _buffer ?? throw LentBuffer.Released();
        buffer.Enter(_turn);
        return buffer;
    }
}
