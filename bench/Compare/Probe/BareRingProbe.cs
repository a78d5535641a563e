using System.Diagnostics;
using System.Runtime.CompilerServices;

namespace Vhost.Bench.Compare;

/// <summary>What is left of a ring without a protocol: 256 entries of 64 bytes, an index on each side, 32 entries copied in or out at a time.</summary>
internal sealed class BareRingProbe
{
    private const int Entries = 256;
    private const int EntryBytes = 64;
    private const int Burst = 32;
    private const long WarmUp = 4_000_000;
    private const long Measured = 20_000_000;
    private const int Line = 16;

    private readonly byte[] _ring = GC.AllocateArray<byte>(Entries * EntryBytes, pinned: true);

    /// <summary>The two indexes, far enough apart not to share a cache line.</summary>
    private readonly long[] _indexes = new long[5 * Line];

    internal static double MillionPerSecond(int first, int second)
    {
        BareRingProbe ring = new();
        double rate = 0;
        Thread sending = BoundThread.Start(first, ring.Send);
        Thread receiving = BoundThread.Start(second, () => rate = ring.Receive());
        sending.Join();
        receiving.Join();
        return rate;
    }

    private ref long Written => ref _indexes[Line];

    private ref long Read => ref _indexes[3 * Line];

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Send()
    {
        byte[] packet = new byte[EntryBytes];
        for (long sent = 0; sent < WarmUp + Measured; sent += Burst)
        {
            while (sent + Burst - Volatile.Read(ref Read) > Entries)
            {
            }

            for (int i = 0; i < Burst; i++)
                packet.CopyTo(Entry(sent + i));
            Volatile.Write(ref Written, sent + Burst);
        }
    }

    private double Receive()
    {
        byte[] packets = new byte[Burst * EntryBytes];
        Receive(packets, 0, WarmUp);
        long started = Stopwatch.GetTimestamp();
        Receive(packets, WarmUp, Measured);
        return Measured / 1e6 / Stopwatch.GetElapsedTime(started).TotalSeconds;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Receive(byte[] packets, long from, long count)
    {
        for (long received = from; received < from + count; received += Burst)
        {
            while (Volatile.Read(ref Written) - received < Burst)
            {
            }

            for (int i = 0; i < Burst; i++)
                Entry(received + i).CopyTo(packets.AsSpan(i * EntryBytes, EntryBytes));
            Volatile.Write(ref Read, received + Burst);
        }
    }

    private Span<byte> Entry(long number) => _ring.AsSpan((int)(number & (Entries - 1)) * EntryBytes, EntryBytes);
}
