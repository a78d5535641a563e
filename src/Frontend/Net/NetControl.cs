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
/// <para>With <see cref="NetClientOptions.Reconnect"/>, a command that was not answered when the back-end was lost, or comes while the next one is looked for, goes to the next one, in the same time. That one
/// is told before what the lost one had confirmed: modes, addresses, VLANs, pairs of queues.</para>
/// <para>Threading: any thread; commands go one after the other.</para>
/// </remarks>
[SuppressMessage("Design", "CA1001", Justification = "A semaphore of which nobody takes the wait handle holds nothing.")]
public sealed partial class NetControl : NetClientQueue
{
    /// <summary>The most addresses of both tables together that <see cref="SetMacTableAsync"/> sends.</summary>
    public const int MaxTableEntries = 512;

    internal const int CommandSize = 4096;

    private const uint CommandPlace = 0;
    private const uint AnswerPlace = 1;
    private const byte NoAnswer = 0xFF;

    /// <summary>What the device has confirmed. Whoever has the turn.</summary>
    private readonly NetControlState _confirmed = new();
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

    /// <summary>Switches a receive mode. A device starts in promiscuous mode. Needs VIRTIO_NET_F_CTRL_RX, or VIRTIO_NET_F_CTRL_RX_EXTRA for those that leave something out and for all unicast.</summary>
    /// <param name="mode">One of them.</param>
    /// <param name="on">On or off.</param>
    /// <param name="cancellationToken">Stops waiting.</param>
    /// <exception cref="ArgumentException">None, or several.</exception>
    public ValueTask SetReceiveModeAsync(NetReceiveModes mode, bool on, CancellationToken cancellationToken = default)
    {
        if (!BitOperations.IsPow2((int)mode) || mode > NetReceiveModes.NoBroadcast)
            throw new ArgumentException($"Mode {mode}: must be one of the modes.", nameof(mode));
        return SendAsync(NetControlMessage.ReceiveMode(mode, on), () => _confirmed.Set(mode, on), cancellationToken);
    }

    /// <summary>Names all further addresses that packets are wanted of, in place of those named before. Needs VIRTIO_NET_F_CTRL_RX.</summary>
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
        NetControlMessage message = NetControlMessage.MacTable(unicast, multicast);
        return SendAsync(message, () => _confirmed.MacTable = message, cancellationToken);
    }

    /// <summary>Changes the device's address. Needs VIRTIO_NET_F_CTRL_MAC_ADDR; a device refuses an address of several stations.</summary>
    /// <param name="address">An address of one station.</param>
    /// <param name="cancellationToken">Stops waiting.</param>
    public ValueTask SetMacAsync(MacAddress address, CancellationToken cancellationToken = default)
    {
        return SendAsync(NetControlMessage.Mac(address), () => _confirmed.Mac = address, cancellationToken);
    }

    /// <summary>Asks for the packets of a VLAN; without that none of its packets are wanted outside promiscuous mode. Needs VIRTIO_NET_F_CTRL_VLAN.</summary>
    /// <param name="id">0 to 4095; what is more a device refuses.</param>
    /// <param name="cancellationToken">Stops waiting.</param>
    public ValueTask AddVlanAsync(int id, CancellationToken cancellationToken = default) =>
        SendAsync(NetControlMessage.Vlan(id, wanted: true), () => _confirmed.Vlans.Add(id), cancellationToken);

    /// <summary>Asks for no more packets of a VLAN.</summary>
    /// <param name="id">0 to 4095.</param>
    /// <param name="cancellationToken">Stops waiting.</param>
    public ValueTask RemoveVlanAsync(int id, CancellationToken cancellationToken = default) =>
        SendAsync(NetControlMessage.Vlan(id, wanted: false), () => _confirmed.Vlans.Remove(id), cancellationToken);

    /// <summary>Confirms that the announcement which the device asked for (<see cref="VirtioNetStatus.Announce"/>) was sent. A back-end that is lost meanwhile needs no confirmation any more.</summary>
    /// <param name="cancellationToken">Stops waiting.</param>
    public ValueTask AcknowledgeAnnouncementAsync(CancellationToken cancellationToken = default) =>
        SendAsync(new NetControlMessage(NetControlCommand.AcknowledgeAnnouncement, []), confirmed: null, cancellationToken);

    /// <summary>Says how many pairs of queues, from the first on, are in use. <see cref="NetClient"/> has said so at its start for the pairs it was asked for.</summary>
    /// <param name="pairs">1 to the device's number of pairs; what is more a device refuses.</param>
    /// <param name="cancellationToken">Stops waiting.</param>
    public ValueTask SetQueuePairsAsync(int pairs, CancellationToken cancellationToken = default) =>
        SendAsync(NetControlMessage.QueuePairs(pairs), () => _confirmed.QueuePairs = pairs, cancellationToken);

    private async ValueTask SendAsync(NetControlMessage message, Action? confirmed, CancellationToken cancellationToken)
    {
        using CancellationTokenSource timeout = new(_timeout, _time);
        using CancellationTokenSource either = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, cancellationToken);
        try
        {
            while (!await TrySendAsync(message, confirmed, either.Token).ConfigureAwait(false))
            {
                if (confirmed is null)
                    return; // of no use to the next one
                await NextBackendAsync(either.Token).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException) when (timeout.IsCancellationRequested && !cancellationToken.IsCancellationRequested)
        {
            throw new VhostUserTimeoutException(WhyLate(message.Command));
        }
    }

    /// <summary>One turn. False when there is no back-end, or it was lost before it answered.</summary>
    private async ValueTask<bool> TrySendAsync(NetControlMessage message, Action? confirmed, CancellationToken cancellationToken)
    {
        await _turn.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            if (IsDeserted || !await TryFinishAsync(restores: false, cancellationToken).ConfigureAwait(false)) // one whose caller did not wait
                return false;
            if (!TrySubmit(message, restores: false) || !await TryFinishAsync(restores: false, cancellationToken).ConfigureAwait(false))
                return false;
            Judge(message.Command);
            confirmed?.Invoke();
            return true;
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>Puts a command on the ring. False when there is no back-end for it.</summary>
    /// <param name="message">The command.</param>
    /// <param name="restores">It is for the next back-end, before others may ask it.</param>
    internal bool TrySubmit(NetControlMessage message, bool restores)
    {
        Span<byte> bytes = stackalloc byte[CommandSize];
        BinaryPrimitives.WriteUInt16LittleEndian(bytes, (ushort)message.Command);
        message.Data.CopyTo(bytes[NetControlNumbers.HeaderSize..]);
        uint length = (uint)(NetControlNumbers.HeaderSize + message.Data.Length);
        if (!Enter())
            return false;
        try
        {
            // Looked at inside: whoever came in before the back-end was lost is waited for before the ring is made anew, and takes nothing of the next one's.
            if (IsDeserted && !restores)
                return false;
            MappedBytes.CopyFrom(bytes[..(int)length], _slots.Address(CommandPlace, 0, length));
            MappedBytes.Fill(_slots.Address(AnswerPlace, 0, 1), 1, NoAnswer);
            Ring.TrySubmit([_places[CommandPlace] with { Length = length }], [_places[AnswerPlace] with { Length = 1 }], 0);
            Notify(Ring.Show());
            return true;
        }
        finally
        {
            Leave();
        }
    }

    /// <summary>Waits until nothing is outstanding. False when the back-end is lost meanwhile.</summary>
    /// <param name="restores">It is the next back-end that is to answer, before others may ask it.</param>
    /// <param name="cancellationToken">Stops waiting.</param>
    private async ValueTask<bool> TryFinishAsync(bool restores, CancellationToken cancellationToken)
    {
        while (!IsFinished())
        {
            if (IsDeserted && !restores)
                return false;
            cancellationToken.ThrowIfCancellationRequested(); // a wait that has no reason to wait does not look
            await WaitForCallAsync(cancellationToken).ConfigureAwait(false);
        }

        return restores || !IsDeserted; // of a ring that is made anew nothing is outstanding either
    }

    private bool IsFinished()
    {
        if (!Enter())
            return false;
        bool finished;
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
        if (Enter())
        {
            try
            {
                MappedBytes.CopyTo(_slots.Address(AnswerPlace, 0, 1), new Span<byte>(ref answer));
            }
            finally
            {
                Leave();
            }
        }

        if (answer == NetControlNumbers.Done && _done[0].BytesWritten == 1)
            return;
        throw new NetControlException(answer == NetControlNumbers.Refused
            ? $"Queue {Index}: the device refused {command} (VIRTIO_NET_ERR)."
            : string.Create(CultureInfo.InvariantCulture, $"Queue {Index}: the device answered {command} with 0x{answer:x2} in {_done[0].BytesWritten} bytes, which is no answer."));
    }

    private string WhyLate(NetControlCommand command) => IsDeserted
        ? string.Create(CultureInfo.InvariantCulture, $"Queue {Index}: {command} was not answered within {_timeout.TotalSeconds} s: the back-end was lost, and no other one has come.")
        : string.Create(
            CultureInfo.InvariantCulture,
            $"Queue {Index}: the device did not answer {command} within {_timeout.TotalSeconds} s. Does the back-end serve the control queue? Many leave that to the hypervisor.");
}
