using System.Diagnostics;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>A guest at a switch, with an address of its own.</summary>
internal sealed class SwitchStation(NetClient client, int port)
{
    private readonly PacketPool _pool = new(400);

    public NetClient Client => client;

    public MacAddress Address { get; } = AddressOf(port);

    public static MacAddress AddressOf(int port) => new(0x02 | ((ulong)(port + 1) << 40));

    /// <summary>A frame that says its number and whose bytes follow from it.</summary>
    public static byte[] Frame(MacAddress to, MacAddress from, int number, int length = 64)
    {
        byte[] frame = new byte[length];
        for (int i = 14; i < length; i++)
            frame[i] = (byte)((i * 7) + number);
        to.Write(frame);
        from.Write(frame.AsSpan(6));
        (frame[12], frame[13]) = (0x88, 0xB5); // for experiments
        if (length >= 18)
            BitConverter.TryWriteBytes(frame.AsSpan(14), number);
        return frame;
    }

    public byte[] FrameTo(int port, int number, int length = 64) => Frame(AddressOf(port), Address, number, length);

    /// <summary>Sends one packet, waiting for room.</summary>
    public async Task SendAsync(byte[] frame, PacketOffload offload = default, int pair = 0)
    {
        _pool.TryRent(out PacketBuffer? packet).Should().BeTrue();
        packet!.TryCopyFrom(frame).Should().BeTrue();
        packet.Offload = offload;
        while (client.Senders[pair].SendBurst([packet]) == 0)
            await client.Senders[pair].WaitAsync().InTime();
        _pool.Return(packet);
    }

    /// <summary>The next packet, as long as it takes; fails when none comes.</summary>
    public async Task<byte[]> ReceiveAsync(int pair = 0) => await TryReceiveAsync(Eventually.Deadline, pair) ?? throw new TimeoutException($"No packet came to port {port}.");

    /// <summary>Whatever has come by now.</summary>
    public List<byte[]> ReceiveAll(int pair = 0)
    {
        List<byte[]> all = [];
        while (TryReceive(pair) is { } packet)
            all.Add(packet);
        return all;
    }

    /// <summary>Makes the switch learn where this station is, and everybody know that it has.</summary>
    public async Task AnnounceAsync(params SwitchStation[] others)
    {
        await SendAsync(Frame(MacAddress.Broadcast, Address, -1));
        foreach (SwitchStation other in others)
            (await other.ReceiveAsync()).AsSpan(6, 6).SequenceEqual(Frame(default, Address, 0).AsSpan(6, 6)).Should().BeTrue();
    }

    /// <summary>The next packet; null when none comes in time.</summary>
    public async Task<byte[]?> TryReceiveAsync(TimeSpan within, int pair = 0)
    {
        long since = Stopwatch.GetTimestamp();
        while (true)
        {
            if (TryReceive(pair) is { } packet)
                return packet;
            TimeSpan left = within - Stopwatch.GetElapsedTime(since);
            if (left <= TimeSpan.Zero)
                return null;
            using CancellationTokenSource limit = new(left);
            try
            {
                await client.Receivers[pair].WaitAsync(limit.Token);
            }
            catch (OperationCanceledException)
            {
                return TryReceive(pair);
            }
        }
    }

    private byte[]? TryReceive(int pair)
    {
        _pool.TryRent(out PacketBuffer? packet).Should().BeTrue();
        byte[]? got = null;
        if (client.Receivers[pair].ReceiveBurst([packet!]) == 1)
        {
            got = new byte[packet!.PacketLength];
            packet.CopyTo(got);
            LastOffload = packet.Offload;
        }

        _pool.Return(packet!);
        return got;
    }

    /// <summary>Of the packet that was received last.</summary>
    public PacketOffload LastOffload { get; private set; }
}
