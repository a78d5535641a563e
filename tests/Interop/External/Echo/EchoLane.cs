using Vhost.Protocol;

namespace Vhost.Interop.Tests.External;

/// <summary>
/// What goes over one pair of queues: numbered packets out, as many as the window allows, and the same ones back, each once and unchanged.
/// </summary>
internal sealed class EchoLane
{
    private const int Burst = 32;

    private readonly EchoPort _port;
    private readonly EchoPlan _plan;
    private readonly int _queue;
    private readonly ulong _total;
    private readonly ulong _end;
    private readonly PacketBuffer[] _outgoing = new PacketBuffer[Burst];
    private readonly ulong[] _outgoingNumbers = new ulong[Burst];
    private readonly PacketBuffer[] _incoming = new PacketBuffer[Burst];
    private readonly byte[] _bytes;

    /// <summary>The numbers under way.</summary>
    private readonly HashSet<ulong> _underWay = [];

    /// <summary>Numbers that a peer may have thrown away: they may still come back, once.</summary>
    private readonly HashSet<ulong> _givenUp = [];
    private int _underWayCost;
    private int _prepared;
    private int _preparedFrom;
    private ulong _nextNumber;
    private long _sent;
    private long _returned;
    private long _returnedBytes;

    internal EchoLane(EchoPort port, EchoPlan plan, int queue, long packets)
    {
        _port = port;
        _plan = plan;
        _queue = queue;
        _total = (ulong)packets;
        _nextNumber = plan.FirstNumber;
        _end = plan.FirstNumber + _total;
        _bytes = new byte[plan.MostBytes + 1];
        new PacketPool(Burst * (1 + (plan.MostBytes / PacketPool.DefaultBufferSize))).RentBurst(_outgoing);
        new PacketPool(Burst * (1 + (plan.MostBytes / PacketPool.DefaultBufferSize))).RentBurst(_incoming);
    }

    internal long Sent => Volatile.Read(ref _sent);

    internal long Returned => Volatile.Read(ref _returned);

    internal long ReturnedBytes => Volatile.Read(ref _returnedBytes);

    internal bool IsDone => (ulong)_returned == _total;

    internal string Figures => $"queue {_queue}: {Sent} sent, {Returned} returned of {_total}, {_underWay.Count} under way; {_port.Sent}; {_port.Received}";

    /// <summary>Receives and sends what can be. False when there was nothing to do.</summary>
    internal bool Step()
    {
        int received = _port.Receive(_incoming);
        foreach (PacketBuffer packet in _incoming.AsSpan(0, received))
            Check(packet);
        int sent = Send();
        return received + sent > 0;
    }

    /// <summary>Waits no longer for what was sent and has not come back, with a peer that may have thrown it away.</summary>
    /// <returns>How many those are.</returns>
    internal int GiveUp()
    {
        HashSet<ulong> ready = [.. _outgoingNumbers.AsSpan(_preparedFrom, _prepared - _preparedFrom)];
        int before = _givenUp.Count;
        foreach (ulong number in _underWay.Except(ready).ToArray())
        {
            _givenUp.Add(number);
            Settle(number);
        }

        return _givenUp.Count - before;
    }

    private int Send()
    {
        if (_preparedFrom == _prepared)
            Prepare();
        int sent = _port.Send(_outgoing.AsSpan(_preparedFrom, _prepared - _preparedFrom));
        _preparedFrom += sent;
        Volatile.Write(ref _sent, _sent + sent);
        return sent;
    }

    /// <summary>Makes the next burst, as far as the window goes. What is ready is under way.</summary>
    private void Prepare()
    {
        _prepared = 0;
        _preparedFrom = 0;
        while (_prepared < Burst && _nextNumber < _end)
        {
            int length = _plan.LengthOf(_nextNumber);
            int cost = _plan.CostOf(length);
            if (_underWayCost + cost > _plan.Window)
                return;
            Span<byte> bytes = _bytes.AsSpan(0, length);
            EchoPacket.Write(bytes, _nextNumber, _queue);
            if (!_outgoing[_prepared].TryCopyFrom(bytes))
                throw new InvalidOperationException("The pool of the test is too small.");
            _outgoingNumbers[_prepared++] = _nextNumber;
            _underWay.Add(_nextNumber++);
            _underWayCost += cost;
        }
    }

    private void Check(PacketBuffer packet)
    {
        int length = packet.CopyTo(_bytes);
        if (!EchoPacket.TryRead(_bytes.AsSpan(0, length), out ulong number, out int queue))
            throw new InvalidDataException($"A packet of {packet.PacketLength} bytes came back changed: {Convert.ToHexString(_bytes.AsSpan(0, Math.Min(length, 64)))}; {Figures}");
        if (queue != _queue || length != _plan.LengthOf(number))
            throw new InvalidDataException($"Packet {number} of queue {queue} came back with {length} bytes; {Figures}");
        if (!Settle(number) && !_givenUp.Remove(number))
            throw new InvalidDataException($"Packet {number} was not under way: it came back twice, or was never sent; {Figures}");
        Volatile.Write(ref _returnedBytes, _returnedBytes + length);
        Volatile.Write(ref _returned, _returned + 1);
    }

    private bool Settle(ulong number)
    {
        bool wasUnderWay = _underWay.Remove(number);
        _underWayCost -= wasUnderWay ? _plan.CostOf(_plan.LengthOf(number)) : 0;
        return wasUnderWay;
    }
}
