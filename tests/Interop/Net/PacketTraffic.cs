using System.Buffers.Binary;
using System.Diagnostics;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>Packets that say which one they are, and the judgement of what arrives: each once, in order, unchanged.</summary>
internal sealed class PacketTraffic(Func<ulong, int> sizeOf)
{
    public const int Shortest = 16;

    private readonly byte[] _expected = new byte[65550];
    private readonly byte[] _got = new byte[65551];

    public ulong Sent { get; private set; }

    public ulong Received { get; private set; }

    public static PacketTraffic Of(int size) => new(_ => size);

    /// <summary>Fills buffers with the next packets.</summary>
    public void Build(ReadOnlySpan<PacketBuffer> packets)
    {
        ulong number = Sent;
        foreach (PacketBuffer packet in packets)
        {
            if (!packet.TryCopyFrom(Bytes(number)))
                throw new InvalidOperationException("the pool is too small for the test");
            number++;
        }
    }

    public void CountSent(int packets) => Sent += (ulong)packets;

    public void Check(ReadOnlySpan<PacketBuffer> packets)
    {
        foreach (PacketBuffer packet in packets)
            Check(_got.AsSpan(0, packet.CopyTo(_got)));
    }

    public void Check(ReadOnlySpan<byte> got)
    {
        if (!got.SequenceEqual(Bytes(Received)))
            Assert.Fail($"packet {Received}: {got.Length} bytes instead of {sizeOf(Received)}, or others");
        Received++;
    }

    /// <summary>Sends and receives until so many packets have made it; fails when nothing moves for long.</summary>
    public void Pump(PacketPool pool, ulong total, int burst, Func<PacketBuffer[], int, int> send, Func<PacketBuffer[], int> receive)
    {
        PacketBuffer[] outgoing = new PacketBuffer[burst];
        PacketBuffer[] incoming = new PacketBuffer[burst];
        pool.RentBurst(outgoing).Should().Be(burst);
        pool.RentBurst(incoming).Should().Be(burst);
        long moved = Stopwatch.GetTimestamp();
        while (Received < total)
        {
            int wanted = (int)Math.Min((ulong)burst, total - Sent);
            int sent = 0;
            if (wanted > 0)
            {
                Build(outgoing.AsSpan(0, wanted));
                sent = send(outgoing, wanted);
                CountSent(sent);
            }

            int received = receive(incoming);
            Check(incoming.AsSpan(0, received));
            if (sent + received > 0)
                moved = Stopwatch.GetTimestamp();
            else if (Stopwatch.GetElapsedTime(moved) > Eventually.Deadline)
                Assert.Fail($"nothing moves: {Sent} sent, {Received} received of {total}");
        }

        pool.ReturnBurst(outgoing);
        pool.ReturnBurst(incoming);
    }

    private ReadOnlySpan<byte> Bytes(ulong number)
    {
        Span<byte> bytes = _expected.AsSpan(0, sizeOf(number));
        for (int i = Shortest; i < bytes.Length; i++)
            bytes[i] = (byte)((i * 7) + (int)number);
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, 0x0000_0100_0000_0002); // a station's address
        if (bytes.Length >= Shortest)
            BinaryPrimitives.WriteUInt64LittleEndian(bytes[8..], number);
        return bytes;
    }
}
