using Vhost.Protocol;

namespace Vhost.Tool;

/// <summary>One thread that serves one pair of queues, bound to a processor if asked.</summary>
internal sealed class NetBenchWorker
{
    private const int MostSamples = 1024;
    private const ulong SampleEvery = 1024;

    /// <summary>Buffers for packets that are longer than one, of which a burst may have several.</summary>
    private const int MostExtra = 256;

    private readonly TaskCompletionSource _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly NetBenchPort _port;
    private readonly NetBenchSettings _settings;
    private readonly BenchClock _clock;
    private readonly PacketBuffer[] _packets;
    private readonly byte[] _samples;
    private readonly int[] _sampleLengths = new int[MostSamples];

    /// <summary>How many packets had come before each of the sample.</summary>
    private readonly long[] _sampleIndexes = new long[MostSamples];
    private readonly int _sampleSize;
    private readonly int? _processor;
    private ulong _bursts;
    private ulong _number;
    private int _sampled;

    // Written by the worker, read by who measures.
    private long _count;
    private long _bytes;
    private long _polls;
    private long _empty;

    internal NetBenchWorker(NetBenchPort port, NetBenchSettings settings, int index, BenchClock clock)
    {
        _port = port;
        _settings = settings;
        _clock = clock;
        _processor = settings.Processors.Count == 0 ? null : settings.Processors[index % settings.Processors.Count];
        _packets = new PacketBuffer[settings.Burst];
        _sampleSize = Math.Max(PacketPool.DefaultBufferSize, settings.PacketSize);
        _samples = new byte[MostSamples * _sampleSize];
        new PacketPool(settings.Burst + MostExtra, _sampleSize).RentBurst(_packets);
    }

    /// <summary>Whether the other side is there.</summary>
    internal bool IsUp => _port.IsUp;

    internal Task Completion => _completion.Task;

    internal NetBenchFigures Figures => new(Volatile.Read(ref _count), Volatile.Read(ref _bytes), Volatile.Read(ref _polls), Volatile.Read(ref _empty));

    internal void Start() => new Thread(Run) { IsBackground = true, Name = "net bench" }.Start();

    /// <summary>Judges the sample, once the worker has ended.</summary>
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

    private void Run()
    {
        try
        {
            if (_processor is { } processor)
                ProcessorBinding.BindThread([processor]);
            while (!_port.IsUp && _clock.Phase != BenchPhase.Stop)
                Thread.Sleep(1);
            if (_settings.InPlace)
                GenerateInPlace();
            else if (_settings.Mode == NetMode.TxOnly)
                Generate();
            else if (_settings.Lends)
                ReceiveLent();
            else
                Receive();
            _completion.SetResult();
            _clock.Failed.Set();
        }
        catch (VhostUserException) when (_count > 0)
        {
            _completion.SetResult(); // the peer has gone, which ends a run
            _clock.Failed.Set();
        }
        catch (Exception failure)
        {
            _completion.SetException(failure);
            _clock.Failed.Set();
        }
    }

    private void Generate()
    {
        foreach (PacketBuffer packet in _packets)
            NumberedPacket.Prepare(packet.Append(_settings.PacketSize));
        while (_clock.Phase != BenchPhase.Stop && _port.IsUp)
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
    }

    private void GenerateInPlace()
    {
        while (_clock.Phase != BenchPhase.Stop && _port.IsUp)
        {
            int sent = _port.SendInPlace(_number, _settings.Burst, _settings.PacketSize);
            _number += (uint)sent;
            Count(sent, (long)sent * _settings.PacketSize);
        }
    }

    /// <summary>All packets have one size: what is refused once is refused always.</summary>
    private ToolException TooLong() => new(FormattableString.Invariant(
        $"--size {_settings.PacketSize}: the other side cannot be given packets that long. Choose shorter ones, or --mergeable on both sides."));

    private void Receive()
    {
        while (_clock.Phase != BenchPhase.Stop && _port.IsUp)
        {
            int count = _port.Receive(_packets);
            if (count > 0)
                Take(_packets.AsSpan(0, count));
            else
                Count(0, 0);
        }
    }

    private void ReceiveLent()
    {
        LentPacket[] lent = new LentPacket[_settings.Burst];
        while (_clock.Phase != BenchPhase.Stop && _port.IsUp)
        {
            Span<LentPacket> packets = lent.AsSpan(0, _port.Lend(lent));
            if (!packets.IsEmpty && ++_bursts % SampleEvery == 1)
                Sample(packets);
            long bytes = 0;
            foreach (LentPacket packet in packets)
                bytes += packet.Length;
            LentPacket.ReleaseBurst(packets);
            Count(packets.Length, bytes);
        }
    }

    private void Take(ReadOnlySpan<PacketBuffer> packets)
    {
        if (++_bursts % SampleEvery == 1)
            Sample(packets);
        long bytes = 0;
        foreach (PacketBuffer packet in packets)
            bytes += packet.PacketLength;
        if (_settings.Mode == NetMode.Mac)
        {
            foreach (PacketBuffer packet in packets)
                SwapAddresses(packet.Data);
        }

        Count(packets.Length, bytes);
        while (_settings.Mode != NetMode.RxOnly && !packets.IsEmpty && _clock.Phase != BenchPhase.Stop && _port.IsUp)
            packets = packets[_port.Send(packets)..];
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
        Volatile.Write(ref _count, _count + packets);
        Volatile.Write(ref _bytes, _bytes + bytes);
        Volatile.Write(ref _polls, _polls + 1);
        if (packets == 0)
            Volatile.Write(ref _empty, _empty + 1);
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

/// <summary>What a worker has counted.</summary>
internal readonly record struct NetBenchFigures(long Packets, long Bytes, long Polls, long EmptyPolls)
{
    public static NetBenchFigures operator +(NetBenchFigures left, NetBenchFigures right) => new(
        left.Packets + right.Packets, left.Bytes + right.Bytes, left.Polls + right.Polls, left.EmptyPolls + right.EmptyPolls);

    public static NetBenchFigures operator -(NetBenchFigures left, NetBenchFigures right) => new(
        left.Packets - right.Packets, left.Bytes - right.Bytes, left.Polls - right.Polls, left.EmptyPolls - right.EmptyPolls);
}
