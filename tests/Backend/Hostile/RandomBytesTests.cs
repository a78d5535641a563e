using System.Diagnostics;
using System.Runtime.InteropServices;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

/// <summary>Bytes that nobody chose: random ones, nearly right ones, and a real session with some of them changed.</summary>
[Collection(ProcessCounts.Name)]
public class RandomBytesTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public async Task B39_Random_bytes_end_at_most_their_own_connection(int seed)
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        Random random = new(seed);
        for (int i = 0; i < 8; i++)
        {
            await using RawFrontend frontend = await bench.ConnectAsync();
            byte[] bytes = new byte[random.Next(1, 8192)];
            random.NextBytes(bytes);
            await SendIgnoringTheEndAsync(frontend, bytes);
        }

        await bench.CheckInvariantsAsync(lines: null);
        bench.Complaints.Should().HaveCountLessThanOrEqualTo(8, "a connection is closed once");
    }

    [Theory]
    [InlineData(4)]
    [InlineData(5)]
    [InlineData(6)]
    public async Task B39_Messages_that_are_nearly_right_end_at_most_its_own_connection(int seed)
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        Random random = new(seed);
        {
            for (int i = 0; i < 200; i++)
            {
                await using RawFrontend frontend = await bench.NegotiatedAsync();
                for (int message = 0; message < 10; message++)
                    await SendIgnoringTheEndAsync(frontend, Mutated(random));
            }
        }


        // How many lines there are depends on the bytes; the budget bounds them.
        await bench.CheckInvariantsAsync(lines: null);
        bench.Complaints.Should().HaveCountLessThan(100);
    }

    /// <summary>Ten megabytes a second, as fast as the back-end lets go of the connections.</summary>
    [Fact]
    public async Task B39_A_stream_of_random_bytes_disturbs_nobody()
    {
        const int Wanted = 20 << 20;
        await using HostileBench bench = await HostileBench.StartAsync();
        Random random = new(7);
        byte[] bytes = new byte[64 << 10];
        {
            Stopwatch clock = Stopwatch.StartNew();
            for (int sent = 0; sent < Wanted && clock.Elapsed < TimeSpan.FromSeconds(10); sent += bytes.Length)
            {
                random.NextBytes(bytes);
                await using RawFrontend frontend = await bench.ConnectAsync();
                await SendIgnoringTheEndAsync(frontend, bytes);
            }
        }


        await bench.CheckInvariantsAsync(lines: null);
        bench.Complaints.Should().HaveCountLessThan(100, "lines are budgeted");
    }

    [Theory]
    [InlineData(8)]
    [InlineData(9)]
    [InlineData(10)]
    public async Task B39_A_real_session_with_changed_bytes_ends_at_most_its_own_connection(int seed)
    {
        await using HostileBench bench = await HostileBench.StartAsync(options: new VhostUserBackendOptions { DrainTimeout = TimeSpan.FromSeconds(2) });
        Random random = new(seed);
        {
            using TestGuest guest = new();
            for (int i = 0; i < 150; i++)
            {
                using TestRing ring = new(guest, 0);
                await using RawFrontend frontend = await bench.ConnectAsync();
                ring.StartAt(0);
                ring.SubmitAndKick(1);
                foreach ((byte[] bytes, SafeHandle[] descriptors) in Changed(Recording(guest, ring), random))
                    await SendIgnoringTheEndAsync(frontend, bytes, descriptors);
            }
        }

        await bench.CheckInvariantsAsync(lines: null);
        bench.Complaints.Should().HaveCountLessThan(100, "lines are budgeted");
    }

    /// <summary>Everything that a front-end says from its first message to the end of a ring's life.</summary>
    private static List<(byte[] Bytes, SafeHandle[] Descriptors)> Recording(TestGuest guest, TestRing ring)
    {
        const VhostUserProtocolFeatures protocol = VhostUserProtocolFeatures.ReplyAck | VhostUserProtocolFeatures.ConfigureMemSlots;
        const VirtioFeatures features = VirtioFeatures.Version1 | VirtioFeatures.VhostUserProtocolFeatures;
        return
        [
            Message(VhostUserRequest.SetOwner, []),
            Message(VhostUserRequest.GetFeatures, []),
            Message(VhostUserRequest.GetProtocolFeatures, []),
            Message(VhostUserRequest.SetProtocolFeatures, RawFrontend.U64((ulong)protocol)),
            Message(VhostUserRequest.GetQueueNum, []),
            Message(VhostUserRequest.SetFeatures, RawFrontend.U64((ulong)features)),
            Message(VhostUserRequest.AddMemReg, RawFrontend.Bytes(guest.Single), guest.Shared.Descriptor),
            Message(VhostUserRequest.SetVringNum, RawFrontend.State(0, TestRing.Size)),
            Message(VhostUserRequest.SetVringBase, RawFrontend.State(0, 0)),
            Message(VhostUserRequest.SetVringAddr, RawFrontend.Bytes(ring.Address)),
            Message(VhostUserRequest.SetVringErr, RawFrontend.Word(ring), ring.Error.Descriptor),
            Message(VhostUserRequest.SetVringCall, RawFrontend.Word(ring), ring.Call.Descriptor),
            Message(VhostUserRequest.SetVringKick, RawFrontend.Word(ring), ring.Kick.Descriptor),
            Message(VhostUserRequest.SetVringEnable, RawFrontend.State(0, 1)),
            Message(VhostUserRequest.GetConfig, ConfigRange(8)),
            Message(VhostUserRequest.GetVringBase, RawFrontend.State(0, 0)),
            Message(VhostUserRequest.RemMemReg, RawFrontend.Bytes(guest.Single)),
        ];
    }

    private static (byte[] Bytes, SafeHandle[] Descriptors) Message(VhostUserRequest request, byte[] payload, params SafeHandle[] descriptors)
    {
        byte[] bytes = new byte[VhostUserHeader.EncodedSize + payload.Length];
        VhostUserHeader.ForRequest(request, payload.Length).Write(bytes);
        payload.CopyTo(bytes, VhostUserHeader.EncodedSize);
        return (bytes, descriptors);
    }

    private static byte[] ConfigRange(uint size)
    {
        byte[] payload = new byte[VhostUserConfig.HeaderSize + size];
        new VhostUserConfig(0, size, 0).Write(payload);
        return payload;
    }

    /// <summary>One to three accidents: a bit or a byte changed, a message lost, repeated, moved, or without its descriptors.</summary>
    private static List<(byte[] Bytes, SafeHandle[] Descriptors)> Changed(List<(byte[] Bytes, SafeHandle[] Descriptors)> session, Random random)
    {
        for (int accidents = random.Next(1, 4); accidents > 0; accidents--)
        {
            int at = random.Next(session.Count);
            (byte[] bytes, SafeHandle[] descriptors) = session[at];
            switch (random.Next(7))
            {
                case 0:
                    session.RemoveAt(at);
                    break;
                case 1:
                    session.Insert(random.Next(session.Count), session[at]);
                    break;
                case 2:
                    (session[at], session[0]) = (session[0], session[at]);
                    break;
                case 3:
                    session[at] = (bytes, []);
                    break;
                case 4:
                    bytes[random.Next(bytes.Length)] = (byte)random.Next(256);
                    break;
                default:
                    bytes[random.Next(bytes.Length)] ^= (byte)(1 << random.Next(8));
                    break;
            }
        }

        return session;
    }

    private static byte[] Mutated(Random random)
    {
        int size = random.Next(4) switch { 0 => 0, 1 => 8, 2 => 40, _ => random.Next(0, 272) };
        byte[] bytes = new byte[VhostUserHeader.EncodedSize + size];
        random.NextBytes(bytes);
        // Small numbers reach further than random ones.
        for (int i = VhostUserHeader.EncodedSize; i < bytes.Length; i++)
            bytes[i] = (byte)(random.Next(4) == 0 ? bytes[i] : 0);
        VhostUserHeaderFlags flags = random.Next(20) == 0 ? (VhostUserHeaderFlags)random.Next() : RawFrontend.NeedReply;
        new VhostUserHeader((uint)random.Next(0, 48), flags, (uint)size).Write(bytes);
        return bytes;
    }

    private static async Task SendIgnoringTheEndAsync(RawFrontend frontend, byte[] bytes, SafeHandle[]? descriptors = null)
    {
        try
        {
            await frontend.Connection.SendRawAsync(bytes, descriptors);
        }
        catch (VhostUserException)
        {
            // The back-end has closed already.
        }
    }
}
