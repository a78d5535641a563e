using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Interop.Tests.External;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>Back-ends that are lost in the middle of polled traffic, with threads inside of the queues.</summary>
public sealed class NetReconnectTrafficTests
{
    private const int Lives = 15;

    [Theory]
    [InlineData(VirtioFeatures.None, true)]
    [InlineData(VirtioFeatures.EventIndex, false)]
    [InlineData(VirtioFeatures.InOrder, true)]
    [InlineData(VirtioFeatures.RingPacked, true)]
    [InlineData(VirtioFeatures.RingPacked | VirtioFeatures.InOrder, false)]
    public async Task Threads_that_send_and_receive_meet_no_error_and_each_packet_arrives_whole_and_at_most_once(VirtioFeatures ring, bool waits)
    {
        await using NetSuccession net = await NetSuccession.StartAsync(new NetClientOptions { RingFeatures = ring, QueueSize = 128 });
        using CancellationTokenSource enough = new();
        Sending sending = new(net.Sender, waits, enough.Token);
        Receiving receiving = new(net.Receiver, waits, enough.Token);
        for (int life = 1; life <= Lives; life++)
        {
            using (Echo echo = new(net.Port))
            {
                long wanted = receiving.Count + 2000;
                await Eventually.TrueAsync(() => receiving.Count >= wanted || receiving.Ended.IsCompleted || sending.Ended.IsCompleted);
                (sending.Ended.IsFaulted, receiving.Ended.IsFaulted).Should().Be((false, false), $"{sending.Ended.Exception} {receiving.Ended.Exception}");
                await net.LoseAsync(); // in the middle
            }

            await net.ReplaceAsync();
        }

        await enough.CancelAsync();
        await Task.WhenAll(sending.Ended, receiving.Ended).InTime();
        (net.Sender.Statistics.Errors, net.Receiver.Statistics.Errors, net.Sender.Statistics.Refused).Should().Be((0, 0, 0));
        net.Sender.Statistics.Packets.Should().Be(sending.Count);
        await net.LoseAsync();
        await net.ReplaceAsync();
        net.Sender.Reclaim().Should().Be(128, "no place was forgotten");
        PacketBuffer[] rest = Rent(128);
        net.Receiver.ReceiveBurst(rest);
        net.Receiver.ReceiveBurst(rest).Should().Be(0);
        net.Receiver.Statistics.InFlight.Should().Be(128, "and no buffer");
    }

    /// <summary>Gives a guest's packets back to it, on a thread, until it is disposed.</summary>
    private sealed class Echo : IDisposable
    {
        private readonly Thread _thread;
        private volatile bool _ends;

        internal Echo(NetPort port)
        {
            _thread = new Thread(() =>
            {
                PacketBuffer[] packets = Rent(32);
                while (!_ends)
                {
                    int count = port.DequeueBurst(packets);
                    port.EnqueueBurst(packets.AsSpan(0, count));
                    if (count == 0)
                        Thread.Yield();
                }
            });
            _thread.Start();
        }

        public void Dispose()
        {
            _ends = true;
            _thread.Join(Eventually.Deadline).Should().BeTrue();
        }
    }

    /// <summary>Sends numbered packets, by turns copied and built in place.</summary>
    private sealed class Sending
    {
        private readonly NetSender _sender;
        private readonly byte[] _bytes = new byte[5000];
        private readonly PacketBuffer[] _packets = Rent(16);
        private ulong _number;
        private int _ready;

        internal Sending(NetSender sender, bool waits, CancellationToken enough)
        {
            _sender = sender;
            Ended = Task.Run(() => RunAsync(waits, enough), CancellationToken.None);
        }

        internal Task Ended { get; }

        internal long Count { get; private set; }

        private async Task RunAsync(bool waits, CancellationToken enough)
        {
            while (!enough.IsCancellationRequested)
            {
                int sent = _ready == 0 && _number % 3 == 0 ? Build() : Copy();
                Count += sent;
                if (sent > 0)
                    continue;
                if (waits)
                    await _sender.WaitAsync(CancellationToken.None);
                else
                    await Task.Yield();
            }
        }

        private int Copy()
        {
            for (; _ready < _packets.Length; _ready++)
                _packets[_ready].TryCopyFrom(Next(_number % 7 == 0 ? 4000 : 500)).Should().BeTrue();
            int sent = _sender.SendBurst(_packets);
            PacketBuffer[] rest = [.. _packets[sent..], .. _packets[..sent]];
            rest.CopyTo(_packets, 0);
            _ready -= sent;
            return sent;
        }

        /// <summary>What can be built and not be sent any more is lost: nobody is told.</summary>
        private int Build()
        {
            using OutgoingBurst burst = _sender.BeginBurst(4);
            long before = _sender.Statistics.Packets;
            for (int i = 0; i < burst.Count; i++)
            {
                ReadOnlySpan<byte> bytes = Next(500);
                burst.Write(i, 0, bytes);
                burst.SetLength(i, bytes.Length);
            }

            burst.Send(burst.Count);
            return (int)(_sender.Statistics.Packets - before);
        }

        private ReadOnlySpan<byte> Next(int range)
        {
            int length = EchoPacket.Shortest + (int)((_number * 0x9E3779B97F4A7C15 >> 40) % (ulong)range);
            EchoPacket.Write(_bytes.AsSpan(0, length), _number++, 0);
            return _bytes.AsSpan(0, length);
        }
    }

    /// <summary>Receives, by turns copies and loans, and judges.</summary>
    private sealed class Receiving
    {
        private readonly NetReceiver _receiver;
        private readonly byte[] _bytes = new byte[5001];
        private readonly HashSet<ulong> _seen = [];
        private long _count;

        internal Receiving(NetReceiver receiver, bool waits, CancellationToken enough)
        {
            _receiver = receiver;
            Ended = Task.Run(() => RunAsync(waits, enough), CancellationToken.None);
        }

        internal Task Ended { get; }

        internal long Count => Volatile.Read(ref _count);

        private async Task RunAsync(bool waits, CancellationToken enough)
        {
            PacketBuffer[] packets = Rent(16);
            LentPacket[] lent = new LentPacket[16];
            Queue<LentPacket> kept = new();
            for (int turn = 0; !enough.IsCancellationRequested; turn++)
            {
                int count = turn % 2 == 0 ? _receiver.ReceiveBurst(packets) : _receiver.LendBurst(lent);
                for (int i = 0; i < count; i++)
                {
                    Check(turn % 2 == 0 ? packets[i].CopyTo(_bytes) : lent[i].CopyTo(_bytes));
                    if (turn % 2 != 0)
                        kept.Enqueue(lent[i]);
                }

                while (kept.Count > (count == 0 ? 0 : 20))
                    kept.Dequeue().Release();
                if (count == 0 && waits)
                    await WaitAsync(enough);
                else if (count == 0)
                    await Task.Yield();
            }

            while (kept.TryDequeue(out LentPacket last))
                last.Release();
        }

        private async Task WaitAsync(CancellationToken enough)
        {
            try
            {
                await _receiver.WaitAsync(enough);
            }
            catch (OperationCanceledException)
            {
                // It was enough.
            }
        }

        private void Check(int length)
        {
            if (!EchoPacket.TryRead(_bytes.AsSpan(0, length), out ulong number, out _))
                throw new InvalidDataException($"A packet of {length} bytes came back changed: {Convert.ToHexString(_bytes.AsSpan(0, Math.Min(length, 64)))}");
            if (!_seen.Add(number))
                throw new InvalidDataException($"Packet {number} came twice.");
            Volatile.Write(ref _count, _count + 1);
        }
    }

    private static PacketBuffer[] Rent(int count)
    {
        PacketBuffer[] packets = new PacketBuffer[count];
        new PacketPool(count * 4).RentBurst(packets).Should().Be(count);
        return packets;
    }
}
