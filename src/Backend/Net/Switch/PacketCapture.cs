using System.Buffers.Binary;
using System.Diagnostics;
using System.Text;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// Writes packets into a file that Wireshark and tcpdump read (pcapng, draft-ietf-opsawg-pcapng), from a thread of its own. Whoever brings a packet copies it into a buffer and goes on: where the file
/// is slower than the packets, they are left out and counted, and so is everything after an error of the file.
/// </summary>
internal sealed class PacketCapture : IDisposable
{
    /// <summary>Bytes that may wait for the file while as many are being written.</summary>
    internal const int Room = 1 << 20;

    private const uint SectionHeader = 0x0A0D0D0A, InterfaceDescription = 1, InterfaceStatistics = 5, EnhancedPacket = 6;
    private const ushort UserApplication = 4, InterfaceName = 2, TimestampResolution = 9, PacketFlags = 2, Received = 4, Dropped = 5;
    private const uint Inbound = 1, Outbound = 2;
    private const int PacketHead = 28, PacketTail = 16;

    /// <summary>What files that take nothing, such as pipes that nobody reads, may hold up the end of a switch, all together.</summary>
    private static readonly TimeSpan _longestEnd = TimeSpan.FromSeconds(5);

    private readonly Lock _gate = new();
    private readonly SemaphoreSlim _wake = new(0);
    private readonly TimeProvider _time;
    private readonly Stream _file;
    private readonly Thread _writer;
    private byte[] _filling = new byte[Room];
    private byte[] _writing = new byte[Room];
    private int _filled;
    private long _captured;
    private long _missed;
    private bool _ends;
    private volatile bool _failed;

    /// <summary>Begins a file.</summary>
    /// <param name="path">It; what was there is replaced.</param>
    /// <param name="name">The interface's name.</param>
    /// <param name="time">The clock of the packets.</param>
    /// <exception cref="IOException">The file cannot be made.</exception>
    internal PacketCapture(string path, string name, TimeProvider time)
        : this(new FileStream(path, FileMode.Create, FileAccess.ReadWrite, FileShare.Read, bufferSize: 0), name, time)
    {
        // To read too: a named pipe is opened at once then, whether somebody reads it or not (fifo(7)).
    }

    internal PacketCapture(Stream file, string name, TimeProvider time)
    {
        _time = time;
        _file = file;
        WriteStart(name);
        _writer = new Thread(Write) { IsBackground = true, Name = "packet capture" };
        _writer.Start();
    }

    /// <summary>Packets that are in the file, or on their way.</summary>
    internal long Captured => Volatile.Read(ref _captured);

    /// <summary>Packets that are not.</summary>
    internal long Missed => Volatile.Read(ref _missed);

    /// <summary>Notes packets. Any thread; never waits for the file.</summary>
    internal void Record(ReadOnlySpan<PacketBuffer?> packets, bool isInbound)
    {
        ulong now = Now();
        lock (_gate)
        {
            bool wakes = _filled == 0;
            foreach (PacketBuffer? packet in packets)
                Record(packet!, isInbound, now);
            if (wakes && _filled > 0)
                _wake.Release();
        }
    }

    /// <summary>Ends files, each after what was noted; all together wait no longer than one would.</summary>
    /// <param name="captures">The files.</param>
    /// <param name="longest">How long they may take; null: 5 s.</param>
    internal static void End(IReadOnlyList<PacketCapture> captures, TimeSpan? longest = null)
    {
        foreach (PacketCapture capture in captures)
            capture.BeginEnd();
        long since = Stopwatch.GetTimestamp();
        foreach (PacketCapture capture in captures)
        {
            TimeSpan left = (longest ?? _longestEnd) - Stopwatch.GetElapsedTime(since);
            if (capture._writer.Join(left > TimeSpan.Zero ? left : TimeSpan.Zero))
                capture._wake.Dispose();
        }
    }

    /// <summary>Ends the file, after what was noted.</summary>
    public void Dispose() => End([this]);

    private void BeginEnd()
    {
        lock (_gate)
        {
            if (_ends)
                return;
            _ends = true;
            _wake.Release();
        }
    }

    private void Record(PacketBuffer packet, bool isInbound, ulong now)
    {
        int length = packet.PacketLength;
        int padded = (length + 3) & ~3;
        int block = PacketHead + padded + PacketTail;
        if (_failed || _ends || block > Room - _filled)
        {
            _missed++;
            return;
        }

        Span<byte> place = _filling.AsSpan(_filled, block);
        place.Clear();
        Begin(place, EnhancedPacket);
        PutTime(place[12..], now);
        Put(place[20..], (uint)length);
        Put(place[24..], (uint)length);
        packet.CopyTo(place.Slice(PacketHead, length));
        Span<byte> options = place[(PacketHead + padded)..];
        PutOption(options, PacketFlags, sizeof(uint));
        Put(options[4..], isInbound ? Inbound : Outbound);
        _filled += block;
        _captured++;
    }

    private void WriteStart(string name)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(name);
        byte[] program = Encoding.UTF8.GetBytes("vhost-user");
        Span<byte> section = Append(24 + OptionSize(program.Length) + 4 + 4);
        Begin(section, SectionHeader);
        Put(section[8..], 0x1A2B3C4D);
        section[12] = 1;
        section.Slice(16, 8).Fill(0xFF);
        PutOption(section[24..], UserApplication, program.Length);
        program.CopyTo(section[28..]);

        Span<byte> description = Append(16 + OptionSize(bytes.Length) + OptionSize(1) + 4 + 4);
        Begin(description, InterfaceDescription);
        description[8] = 1; // Ethernet; a limit of 0 is none
        PutOption(description[16..], InterfaceName, bytes.Length);
        bytes.CopyTo(description[20..]);
        Span<byte> resolution = description[(16 + OptionSize(bytes.Length))..];
        PutOption(resolution, TimestampResolution, 1);
        resolution[4] = 9; // nanoseconds
    }

    private void WriteEnd()
    {
        Span<byte> statistics = Append(20 + (2 * OptionSize(sizeof(ulong))) + 4 + 4);
        Begin(statistics, InterfaceStatistics);
        PutTime(statistics[12..], Now());
        PutOption(statistics[20..], Received, sizeof(ulong));
        BinaryPrimitives.WriteUInt64LittleEndian(statistics[24..], (ulong)(_captured + _missed));
        PutOption(statistics[32..], Dropped, sizeof(ulong));
        BinaryPrimitives.WriteUInt64LittleEndian(statistics[36..], (ulong)_missed);
    }

    /// <summary>The thread that writes.</summary>
    private void Write()
    {
        try
        {
            while (TryTake(out int count))
                _file.Write(_writing, 0, count);
            WriteEnd();
            _file.Write(_filling, 0, _filled);
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            _failed = true;
        }

        Close();
    }

    private void Close()
    {
        try
        {
            _file.Dispose();
        }
        catch (IOException)
        {
            _failed = true; // nothing is left to be told
        }
    }

    /// <summary>Waits for something to write. False: there is nothing, and nothing more comes.</summary>
    private bool TryTake(out int count)
    {
        while (true)
        {
            lock (_gate)
            {
                count = _filled;
                (_filling, _writing) = (_writing, _filling);
                _filled = 0;
                if (count > 0)
                    return true;
                if (_ends)
                    return false;
            }

            _wake.Wait();
        }
    }

    private Span<byte> Append(int block)
    {
        Span<byte> place = _filling.AsSpan(_filled, block);
        _filled += block;
        place.Clear();
        return place;
    }

    private ulong Now() => (ulong)(_time.GetUtcNow() - DateTimeOffset.UnixEpoch).Ticks * 100;

    private static int OptionSize(int length) => 4 + ((length + 3) & ~3);

    private static void Begin(Span<byte> block, uint type)
    {
        Put(block, type);
        Put(block[4..], (uint)block.Length);
        Put(block[^4..], (uint)block.Length);
    }

    private static void PutOption(Span<byte> place, ushort code, int length)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(place, code);
        BinaryPrimitives.WriteUInt16LittleEndian(place[2..], (ushort)length);
    }

    private static void PutTime(Span<byte> place, ulong time)
    {
        Put(place, (uint)(time >> 32));
        Put(place[4..], (uint)time);
    }

    private static void Put(Span<byte> place, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(place, value);
}
