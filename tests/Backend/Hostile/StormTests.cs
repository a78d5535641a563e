using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

/// <summary>Floods of messages and of connections.</summary>
[Collection(ProcessCounts.Name)]
public class StormTests
{
    [Fact]
    public async Task B16_A_million_sizes_take_no_memory()
    {
        const int Total = 1_000_000;
        const int Batch = 500;
        await using HostileBench bench = await HostileBench.StartAsync();
        byte[] flood = new byte[Batch * (VhostUserHeader.EncodedSize + 8)];
        for (int i = 0; i < Batch; i++)
            WriteSize(flood.AsSpan(i * flood.Length / Batch));
        {
            await using RawFrontend frontend = await bench.NegotiatedAsync();
            await frontend.Connection.SendRawAsync(flood);
            await frontend.BarrierAsync();
            long before = GC.GetTotalMemory(forceFullCollection: true);
            for (int sent = 0; sent < Total; sent += Batch)
                await frontend.Connection.SendRawAsync(flood);
            await frontend.BarrierAsync();
            (GC.GetTotalMemory(forceFullCollection: true) - before).Should().BeLessThan(1 << 20);
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    [Fact]
    public async Task B16_Sizes_that_are_acknowledged_out_of_step_take_no_memory()
    {
        const int Total = 50_000;
        await using HostileBench bench = await HostileBench.StartAsync();
        {
            await using RawFrontend frontend = await bench.NegotiatedAsync();
            byte[] payload = RawFrontend.State(0, 256);
            Task sending = Task.Run(async () =>
            {
                for (int i = 0; i < Total; i++)
                    await frontend.SendAsync((uint)VhostUserRequest.SetVringNum, RawFrontend.NeedReply, payload);
            });
            for (int i = 0; i < Total; i++)
                (await frontend.ReplyToAsync((uint)VhostUserRequest.SetVringNum)).Should().HaveCount(8);
            await sending;
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    /// <summary>One is served, the backlog waits, and the kernel turns the rest away at once.</summary>
    [Fact]
    public async Task B36_A_thousand_front_ends_that_say_nothing_fill_the_backlog_and_no_more()
    {
        VhostUserBackendOptions options = new() { FirstMessageTimeout = Timeout.InfiniteTimeSpan };
        await using HostileBench bench = await HostileBench.StartAsync(options: options);
        List<VhostUserConnection> silent = new();
        int turnedAway = 0;
        for (int i = 0; i < 1000; i++)
        {
            try
            {
                silent.Add(await VhostUserConnection.ConnectAsync(bench.SocketPath));
            }
            catch (VhostUserDisconnectedException)
            {
                turnedAway++;
            }
        }

        silent.Should().HaveCountLessThanOrEqualTo(new VhostUserListenOptions().Backlog + 2);
        turnedAway.Should().Be(1000 - silent.Count);
        foreach (VhostUserConnection connection in silent)
            await connection.DisposeAsync();
        await bench.CheckInvariantsAsync(lines: 0);
    }

    [Fact]
    public async Task B36_A_hundred_thousand_front_ends_that_come_and_go_leave_nothing()
    {
        const int Total = 100_000;
        await using HostileBench bench = await HostileBench.StartAsync();
        for (int i = 0; i < Total; i++)
            await (await bench.ConnectAsync()).DisposeAsync();
        await bench.CheckInvariantsAsync(lines: 0);
        bench.Device.Resets.Should().BeGreaterThan(Total);
    }

    private static void WriteSize(Span<byte> message)
    {
        VhostUserHeader.ForRequest(VhostUserRequest.SetVringNum, 8).Write(message);
        new VhostUserVringState(0, 256).Write(message[VhostUserHeader.EncodedSize..]);
    }
}
