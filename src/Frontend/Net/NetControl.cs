using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Numerics;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// The control queue of a network device (virtio "Network Device", "Control Virtqueue"): what a driver tells the device beside packets. Each call is one command,
/// and ends when the device has answered it.
/// </summary>
/// <remarks>
/// <para>Errors: <see cref="NetControlException"/> when the device refuses; <see cref="VhostUserTimeoutException"/> when it does not answer within
/// <see cref="NetClientOptions.ReplyTimeout"/>; otherwise as for the other queues. A command that was cancelled or timed out may still be carried out; the next one
/// waits for its answer first.</para>
/// <para>Threading: any thread; commands go one after the other.</para>
/// </remarks>
[SuppressMessage("Design", "CA1001", Justification = "A semaphore of which nobody takes the wait handle holds nothing.")]
public sealed class NetControl : NetClientQueue
{
    /// <summary>The most addresses of both tables together that <see cref="SetMacTableAsync"/> sends.</summary>
    public const int MaxTableEntries = 512;

    internal const int CommandSize = 4096;

    private const uint CommandPlace = 0;
    private const uint AnswerPlace = 1;
    private const byte NoAnswer = 0xFF;

    private readonly SemaphoreSlim _turn = new(1, 1);
    private readonly PacketSlots _slots;
    private readonly GuestBuffer[] _places;
    private readonly DriverCompletion[] _done = new DriverCompletion[1];
    private readonly TimeSpan _timeout;
    private readonly TimeProvider _time;

    internal NetControl(int index, DriverVirtqueue ring, NetQueueShape shape, in NetQueueMemory memory, EventNotifier kick, EventNotifier call, NetClientOptions options)
        : base(index, ring, shape, kick, call)
    {
        _slots = memory.Slots;
        _places = memory.Places;
        _timeout = options.ReplyTimeout;
        _time = options.TimeProvider;
        ring.DisarmCall();
    }

    /// <summary>Switches a receive mode. A device starts in promiscuous mode.</summary>
    /// <param name="mode">One of them.</param>
    /// <param name="on">On or off.</param>
    /// <param name="cancellationToken">Stops waiting.</param>
    /// <exception cref="ArgumentException">None, or several.</exception>
    public ValueTask SetReceiveModeAsync(NetReceiveModes mode, bool on, CancellationToken cancellationToken = default)
    {
        if (!BitOperations.IsPow2((int)mode) || mode > NetReceiveModes.NoBroadcast)
            throw new ArgumentException($"Mode {mode}: must be one of the modes.", nameof(mode));
        ushort command = (ushort)(BitOperations.Log2((uint)mode) << 8);
        return SendAsync((NetControlCommand)command, [on ? (byte)1 : (byte)0], cancellationToken);
    }

    /// <summary>Names all further addresses that packets are wanted of, in place of those named before.</summary>
    /// <param name="unicast">Addresses of one station.</param>
    /// <param name="multicast">Addresses of several.</param>
    /// <param name="cancellationToken">Stops waiting.</param>
    /// <exception cref="ArgumentException">More than <see cref="MaxTableEntries"/> together.</exception>
    public ValueTask SetMacTableAsync(IReadOnlyCollection<MacAddress> unicast, IReadOnlyCollection<MacAddress> multicast, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(unicast);
        ArgumentNullException.ThrowIfNull(multicast);
        int count = unicast.Count + multicast.Count;
        if (count > MaxTableEntries)
            throw new ArgumentException(string.Create(CultureInfo.InvariantCulture, $"{count} addresses: must be 0 to {MaxTableEntries}."), nameof(unicast));
        byte[] data = new byte[(2 * sizeof(uint)) + (count * MacAddress.Size)];
        Span<byte> rest = WriteTable(data, unicast);
        WriteTable(rest, multicast);
        return SendAsync(NetControlCommand.SetMacTable, data, cancellationToken);
    }

    /// <summary>Changes the device's address.</summary>
    /// <param name="address">An address of one station.</param>
    /// <param name="cancellationToken">Stops waiting.</param>
    public ValueTask SetMacAsync(MacAddress address, CancellationToken cancellationToken = default)
    {
        byte[] data = new byte[MacAddress.Size];
        address.Write(data);
        return SendAsync(NetControlCommand.SetMacAddress, data, cancellationToken);
    }

    /// <summary>Asks for the packets of a VLAN; without that none of its packets are wanted outside promiscuous mode.</summary>
    /// <param name="id">0 to 4095.</param>
    /// <param name="cancellationToken">Stops waiting.</param>
    public ValueTask AddVlanAsync(int id, CancellationToken cancellationToken = default) => SendAsync(NetControlCommand.AddVlan, U16(id), cancellationToken);

    /// <summary>Asks for no more packets of a VLAN.</summary>
    /// <param name="id">0 to 4095.</param>
    /// <param name="cancellationToken">Stops waiting.</param>
    public ValueTask RemoveVlanAsync(int id, CancellationToken cancellationToken = default) => SendAsync(NetControlCommand.RemoveVlan, U16(id), cancellationToken);

    /// <summary>Confirms that the announcement which the device asked for (<see cref="VirtioNetStatus.Announce"/>) was sent.</summary>
    /// <param name="cancellationToken">Stops waiting.</param>
    public ValueTask AcknowledgeAnnouncementAsync(CancellationToken cancellationToken = default) =>
        SendAsync(NetControlCommand.AcknowledgeAnnouncement, [], cancellationToken);

    /// <summary>Says how many pairs of queues, from the first on, are in use. <see cref="NetClient"/> has said so at its start for the pairs it was asked for.</summary>
    /// <param name="pairs">1 to the device's number of pairs.</param>
    /// <param name="cancellationToken">Stops waiting.</param>
    public ValueTask SetQueuePairsAsync(int pairs, CancellationToken cancellationToken = default) => SendAsync(NetControlCommand.SetQueuePairs, U16(pairs), cancellationToken);

    private async ValueTask SendAsync(NetControlCommand command, byte[] data, CancellationToken cancellationToken)
    {
        using CancellationTokenSource timeout = new(_timeout, _time);
        using CancellationTokenSource either = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, cancellationToken);
        try
        {
            await _turn.WaitAsync(either.Token).ConfigureAwait(false);
            try
            {
                await FinishAsync(either.Token).ConfigureAwait(false); // one whose caller did not wait
                Submit(command, data);
                await FinishAsync(either.Token).ConfigureAwait(false);
                Judge(command);
            }
            finally
            {
                _turn.Release();
            }
        }
        catch (OperationCanceledException) when (timeout.IsCancellationRequested && !cancellationToken.IsCancellationRequested)
        {
            throw new VhostUserTimeoutException(string.Create(
                CultureInfo.InvariantCulture,
                $"Queue {Index}: the device did not answer {command} within {_timeout.TotalSeconds} s. Does the back-end serve the control queue? Many leave that to the hypervisor."));
        }
    }

    private void Submit(NetControlCommand command, byte[] data)
    {
        Span<byte> bytes = stackalloc byte[CommandSize];
        BinaryPrimitives.WriteUInt16LittleEndian(bytes, (ushort)command);
        data.CopyTo(bytes[NetControlNumbers.HeaderSize..]);
        uint length = (uint)(NetControlNumbers.HeaderSize + data.Length);
        Enter();
        try
        {
            MappedBytes.CopyFrom(bytes[..(int)length], _slots.Address(CommandPlace, 0, length));
            MappedBytes.Fill(_slots.Address(AnswerPlace, 0, 1), 1, NoAnswer);
            Ring.TrySubmit([_places[CommandPlace] with { Length = length }], [_places[AnswerPlace] with { Length = 1 }], 0);
            Notify(Ring.Show());
        }
        finally
        {
            Leave();
        }
    }

    /// <summary>Waits until nothing is outstanding.</summary>
    private async ValueTask FinishAsync(CancellationToken cancellationToken)
    {
        while (!IsFinished())
        {
            cancellationToken.ThrowIfCancellationRequested(); // a wait that has no reason to wait does not look
            await WaitForCallAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    private bool IsFinished()
    {
        bool finished;
        Enter();
        try
        {
            finished = Ring.InFlight == 0 || Ring.Drain(_done) == 1;
        }
        finally
        {
            Leave();
        }

        ThrowIfFailed();
        return finished;
    }

    private void Judge(NetControlCommand command)
    {
        byte answer = NoAnswer;
        Enter();
        try
        {
            MappedBytes.CopyTo(_slots.Address(AnswerPlace, 0, 1), new Span<byte>(ref answer));
        }
        finally
        {
            Leave();
        }

        if (answer == NetControlNumbers.Done && _done[0].BytesWritten == 1)
            return;
        throw new NetControlException(answer == NetControlNumbers.Refused
            ? $"Queue {Index}: the device refused {command} (VIRTIO_NET_ERR)."
            : string.Create(CultureInfo.InvariantCulture, $"Queue {Index}: the device answered {command} with 0x{answer:x2} in {_done[0].BytesWritten} bytes, which is no answer."));
    }

    private static Span<byte> WriteTable(Span<byte> destination, IReadOnlyCollection<MacAddress> addresses)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(destination, (uint)addresses.Count);
        destination = destination[sizeof(uint)..];
        foreach (MacAddress address in addresses)
        {
            address.Write(destination);
            destination = destination[MacAddress.Size..];
        }

        return destination;
    }

    private static byte[] U16(int value)
    {
        byte[] bytes = new byte[sizeof(ushort)];
        BinaryPrimitives.WriteUInt16LittleEndian(bytes, checked((ushort)value));
        return bytes;
    }
}
