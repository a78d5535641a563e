using Vhost.Protocol;

namespace Vhost.Tool;

/// <summary>What is done with one pair of queues, a burst at a time, and what came of it.</summary>
internal sealed class NetBenchPair
{
    private const int MostSamples = 1024;
    private const ulong SampleEvery = 1024;

    /// <summary>Buffers for packets that are longer than one, of which a burst may have several.</summary>
    private const int MostExtra = 256;

    private readonly NetBenchPort _port;
    private readonly NetBenchSettings _settings;
    private readonly Action _turn;
    private readonly PacketBuffer[] _packets;
    private readonly LentPacket[] _lent;
    private readonly byte[] _samples;
    private readonly int[] _sampleLengths = new int[MostSamples];

    /// <summary>How many packets had come before each of the sample.</summary>
    private readonly long[] _sampleIndexes = new long[MostSamples];
    private readonly int _sampleSize;
    private ulong _bursts;
    private ulong _number;
    private int _sampled;

    /// <summary>Received packets that are still to be sent back.</summary>
    private Range _back = ..0;

    // Written by the thread that serves the pair, read by who measures: the version is odd while they do not belong together.
    private int _version;
    private long _count;
    private long _bytes;
    private long _polls;
    private long _empty;

    internal NetBenchPair(NetBenchPort port, NetBenchSettings settings)
    {
        _port = port;
        _settings = settings;
        _packets = new PacketBuffer[settings.Burst];
        _lent = new LentPacket[settings.Lends ? settings.Burst : 0];
        _sampleSize = Math.Max(PacketPool.DefaultBufferSize, settings.PacketSize);
        _samples = new byte[MostSamples * _sampleSize];
        new PacketPool(settings.Burst + MostExtra, _sampleSize).RentBurst(_packets);
        _turn = settings switch
        {
            { InPlace: true } => GenerateInPlace,
            { Mode: NetMode.TxOnly } => Generate,
            { Lends: true } => ReceiveLent,
            { Mode: NetMode.RxOnly } => Receive,
            _ => SendBack,
        };
        if (settings is { InPlace: false, Mode: NetMode.TxOnly })
        {
            foreach (PacketBuffer packet in _packets)
                NumberedPacket.Prepare(packet.Append(settings.PacketSize));
        }
    }

    /// <summary>Whether the other side is there.</summary>
    internal bool IsUp => _port.IsUp;

    /// <summary>Whether it ever was.</summary>
    internal bool WasUp => _polls > 0;

    internal NetBenchFigures Figures
    {
        get
        {
            SpinWait wait = default;
            while (true)
            {
                int version = Volatile.Read(ref _version);
                NetBenchFigures figures = new(_count, _bytes, _polls, _empty);
                Volatile.ReadBarrier();
                if (version % 2 == 0 && version == _version)
                    return figures;
                wait.SpinOnce();
            }
        }
    }

    /// <summary>Sends or receives one burst.</summary>
    internal void Turn() => _turn();

    /// <summary>Judges the sample, once the thread has ended.</summary>
    internal NetBenchSample Verify()
    {
        int kept = Math.Min(_sampled, MostSamples);
        long sound = 0;
        long astray = 0;
        for (int i = 0; i < kept; i++)
        {
            ReadOnlySpan<byte> packet = _samples.AsSpan(i * _sampleSize, _sampleLengths[i]);
            if (!NumberedPacket.IsSound(packet))
                continue;
            sound++;
            astray += NumberedPacket.TryReadNumber(packet, out ulong number) && number != (ulong)_sampleIndexes[i] ? 1 : 0;
        }

        return new NetBenchSample(sound, kept - sound, astray);
    }

    private void Generate()
    {
        // All numbers first: read back at once by the copy, each would wait for its own store. What there is no room for is built anew: a rest that is
        // sent alone makes a short burst, and that the next one.
        for (int i = 0; i < _packets.Length; i++)
            NumberedPacket.Number(_packets[i].Data, _number + (uint)i);
        int sent = _port.Send(_packets);
        if (sent > 0 && _count == 0 && _port.Refused > 0)
            throw TooLong();
        _number += (uint)sent;
        Count(sent, (long)sent * _settings.PacketSize);
    }

    private void GenerateInPlace()
    {
        int sent = _port.SendInPlace(_number, _settings.Burst, _settings.PacketSize);
        _number += (uint)sent;
        Count(sent, (long)sent * _settings.PacketSize);
    }

    /// <summary>All packets have one size: what is refused once is refused always.</summary>
    private ToolException TooLong() => new(FormattableString.Invariant(
        $"--size {_settings.PacketSize}: the other side cannot be given packets that long. Choose shorter ones, or --mergeable on both sides."));

    private void Receive() => Take(_port.Receive(_packets));

    /// <summary>Sends back what was received, all of it before more is received.</summary>
    private void SendBack()
    {
        Span<PacketBuffer> back = _packets.AsSpan(_back);
        if (back.IsEmpty)
        {
            int count = _port.Receive(_packets);
            Take(count);
            back = _packets.AsSpan(0, count);
            if (_settings.Mode == NetMode.Mac)
            {
                foreach (PacketBuffer packet in back)
                    SwapAddresses(packet.Data);
            }

            _back = ..count;
        }

        if (!back.IsEmpty)
            _back = (_back.Start.Value + _port.Send(back)).._back.End;
    }

    private void Take(int count)
    {
        ReadOnlySpan<PacketBuffer> packets = _packets.AsSpan(0, count);
        if (count > 0 && ++_bursts % SampleEvery == 1)
            Sample(packets);
        long bytes = 0;
        foreach (PacketBuffer packet in packets)
            bytes += packet.PacketLength;
        Count(count, bytes);
    }

    private void ReceiveLent()
    {
        Span<LentPacket> packets = _lent.AsSpan(0, _port.Lend(_lent));
        if (!packets.IsEmpty && ++_bursts % SampleEvery == 1)
            Sample(packets);
        long bytes = 0;
        foreach (LentPacket packet in packets)
            bytes += packet.Length;
        LentPacket.ReleaseBurst(packets);
        Count(packets.Length, bytes);
    }

    private static void SwapAddresses(Span<byte> packet)
    {
        Span<byte> kept = stackalloc byte[MacAddress.Size];
        packet[..MacAddress.Size].CopyTo(kept);
        packet.Slice(MacAddress.Size, MacAddress.Size).CopyTo(packet);
        kept.CopyTo(packet[MacAddress.Size..]);
    }

    private void Sample(ReadOnlySpan<PacketBuffer> packets)
    {
        for (int i = 0; i < packets.Length; i++)
        {
            int place = NextSample(i);
            _sampleLengths[place] = packets[i].CopyTo(_samples.AsSpan(place * _sampleSize, _sampleSize));
        }
    }

    private void Sample(ReadOnlySpan<LentPacket> packets)
    {
        for (int i = 0; i < packets.Length; i++)
        {
            int place = NextSample(i);
            _sampleLengths[place] = packets[i].CopyTo(_samples.AsSpan(place * _sampleSize, _sampleSize));
        }
    }

    /// <summary>A place for one packet of the burst that has just come, the oldest of the sample once all are used.</summary>
    private int NextSample(int placeInBurst)
    {
        int place = _sampled % MostSamples;
        _sampled = _sampled == (2 * MostSamples) - 1 ? MostSamples : _sampled + 1;
        _sampleIndexes[place] = _count + placeInBurst;
        return place;
    }

    private void Count(int packets, long bytes)
    {
        _version++;
        Volatile.WriteBarrier();
        _count += packets;
        _bytes += bytes;
        _polls++;
        if (packets == 0)
            _empty++;
        Volatile.WriteBarrier();
        _version++;
    }
}

/// <summary>What a look at a sample of the received packets gave.</summary>
/// <param name="Sound">Packets that are what a sender builds.</param>
/// <param name="Bad">Packets that are not.</param>
/// <param name="Astray">Of the sound ones with a number, those whose number is not that of packets that had come before: some were lost, or came twice, or in another order.</param>
internal readonly record struct NetBenchSample(long Sound, long Bad, long Astray)
{
    public static NetBenchSample operator +(NetBenchSample left, NetBenchSample right) =>
        new(left.Sound + right.Sound, left.Bad + right.Bad, left.Astray + right.Astray);
}

/// <summary>What was counted on a pair.</summary>
internal readonly record struct NetBenchFigures(long Packets, long Bytes, long Polls, long EmptyPolls)
{
    public static NetBenchFigures operator +(NetBenchFigures left, NetBenchFigures right) => new(
        left.Packets + right.Packets, left.Bytes + right.Bytes, left.Polls + right.Polls, left.EmptyPolls + right.EmptyPolls);

    public static NetBenchFigures operator -(NetBenchFigures left, NetBenchFigures right) => new(
        left.Packets - right.Packets, left.Bytes - right.Bytes, left.Polls - right.Polls, left.EmptyPolls - right.EmptyPolls);
}
