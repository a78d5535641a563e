using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// Packets that are built where the device will read them: in places of shared memory. Comes from
/// <see cref="NetSender.BeginBurst"/>; ends with <see cref="Send"/> or, unsent, with <see cref="Dispose"/>.
/// </summary>
/// <remarks>
/// <para>A place keeps its bytes when it has come back. What is the same in all packets then need be written but once into each place, which
/// <see cref="PlaceOf"/> tells apart; that holds as long as <see cref="NetSender.SendBurst"/>, which uses places too, is left alone.</para>
/// <para>What the device has of a place it may change (it is shared memory), before and after the packet was sent.</para>
/// <para>Threading: one thread. The burst occupies its queue: meanwhile sending, reclaiming and beginning to wait there throw
/// <see cref="InvalidOperationException"/>; a wait that began before goes on. Disposing the client waits up to a second for the burst. One that goes on for longer keeps the shared memory until
/// it ends, and nothing of it is sent.</para>
/// </remarks>
public readonly ref struct OutgoingBurst
{
    /// <summary>Packets of the longest burst.</summary>
    public const int MaxCount = 64;

    private readonly NetSender? _sender;
    private readonly int _turn;

    internal OutgoingBurst(NetSender sender, int turn, int count)
    {
        _sender = sender;
        _turn = turn;
        Count = count;
    }

    /// <summary>Packets that can be built: as many as were asked for, or fewer, or none when there is no room at present.</summary>
    public int Count { get; }

    /// <summary>Which place a packet is built in, 0 to <see cref="NetSender.PlaceCount"/> - 1.</summary>
    /// <param name="packet">0 to <see cref="Count"/> - 1.</param>
    /// <exception cref="ArgumentOutOfRangeException">There is no such packet.</exception>
    /// <exception cref="InvalidOperationException">The burst has ended.</exception>
    public int PlaceOf(int packet) => Owner(packet).PlaceOf(_turn, packet);

    /// <summary>Copies bytes into a packet.</summary>
    /// <param name="packet">0 to <see cref="Count"/> - 1.</param>
    /// <param name="offset">The first byte of the packet to write.</param>
    /// <param name="bytes">What to write there; it ends within <see cref="NetSender.PlaceCapacity"/>.</param>
    /// <exception cref="ArgumentOutOfRangeException">There is no such packet, or no room in it.</exception>
    /// <exception cref="InvalidOperationException">The burst has ended.</exception>
    public void Write(int packet, int offset, ReadOnlySpan<byte> bytes) => Owner(packet).WriteInPlace(_turn, packet, offset, bytes);

    /// <summary>Says how long a packet is; 0 at first, which is not sent.</summary>
    /// <param name="packet">0 to <see cref="Count"/> - 1.</param>
    /// <param name="length">Bytes, 1 to <see cref="NetSender.PlaceCapacity"/>.</param>
    /// <exception cref="ArgumentOutOfRangeException">There is no such packet, or the length is out of its range.</exception>
    /// <exception cref="InvalidOperationException">The burst has ended.</exception>
    public void SetLength(int packet, int length) => Owner(packet).SetLengthInPlace(_turn, packet, length);

    /// <summary>Says what is left to do to a packet; nothing at first.</summary>
    /// <param name="packet">0 to <see cref="Count"/> - 1.</param>
    /// <param name="offload">As for <see cref="PacketBuffer.Offload"/>.</param>
    /// <exception cref="ArgumentOutOfRangeException">There is no such packet.</exception>
    /// <exception cref="InvalidOperationException">The burst has ended.</exception>
    public void SetOffload(int packet, PacketOffload offload) => Owner(packet).SetOffloadInPlace(_turn, packet, offload);

    /// <summary>
    /// Shows packets to the device, all at once, kicks it if it asked for that, and ends the burst. One that the device cannot be given, or that has no
    /// length, is dropped and counted (<see cref="NetQueueStatistics.Refused"/>). That the queue is broken shows with the next burst. While the next back-end is looked for
    /// (<see cref="NetClientOptions.Reconnect"/>) all of them are lost and counted (<see cref="NetQueueStatistics.Lost"/>); once it is there they go to it.
    /// </summary>
    /// <param name="count">How many, from the first on, 0 to <see cref="Count"/>. The places of the others are free again.</param>
    /// <exception cref="ArgumentOutOfRangeException">There are not so many.</exception>
    /// <exception cref="InvalidOperationException">The burst has ended.</exception>
    public void Send(int count)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, Count);
        _sender?.SendBuilt(_turn, Count, count);
    }

    /// <summary>Gives the places of a burst that was not sent back; after <see cref="Send"/> it does nothing.</summary>
    public void Dispose() => _sender?.GiveUp(_turn, Count);

    private NetSender Owner(int packet)
    {
        if ((uint)packet >= (uint)Count)
            ThrowNoPacket(packet, Count);
        return _sender!;
    }

    private static void ThrowNoPacket(int packet, int count) =>
        throw new ArgumentOutOfRangeException(nameof(packet), packet, FormattableString.Invariant($"The burst has room for {count} packets."));
}
