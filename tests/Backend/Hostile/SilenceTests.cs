using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

/// <summary>Front-ends that stop talking: inside a message, before the first one, and between two.</summary>
[Collection(ProcessCounts.Name)]
public class SilenceTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(11)]
    [InlineData(12)]
    [InlineData(16)]
    public async Task B02_A_front_end_that_stops_inside_a_message_loses_the_connection(int bytes)
    {
        FakeTimeProvider time = new();
        await using HostileBench bench = await HostileBench.StartAsync(options: new VhostUserBackendOptions { TimeProvider = time });
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            await frontend.BarrierAsync();
            byte[] message = new byte[VhostUserHeader.EncodedSize + 8];
            VhostUserHeader.ForRequest(VhostUserRequest.SetVringNum, 8).Write(message);
            await frontend.Connection.SendRawAsync(message.AsMemory(0, bytes));
            await time.TimersAsync();
            time.Advance(TimeSpan.FromSeconds(9));
            // A byte now and then does not help: the limit is for the whole message.
            await frontend.Connection.SendRawAsync(message.AsMemory(bytes, 1));
            await time.TimersAsync();
            time.Advance(TimeSpan.FromSeconds(2));
            await frontend.ExpectClosedAsync();
        }

        await bench.CheckInvariantsAsync(lines: 1);
        bench.Complaints.Single().Should().Contain("no more within 10 s");
    }

    [Fact]
    public async Task B02_A_front_end_may_be_silent_between_messages_for_days()
    {
        FakeTimeProvider time = new();
        await using HostileBench bench = await HostileBench.StartAsync(options: new VhostUserBackendOptions { TimeProvider = time });
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using TestGuest guest = new();
            using TestRing ring = new(guest, 0);
            await frontend.AddMemoryAsync(guest);
            await frontend.StartAsync(ring);
            await ring.EchoAsync(1);
            time.Advance(TimeSpan.FromDays(10));
            await ring.EchoAsync(2);
            await frontend.BarrierAsync();
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    [Fact]
    public async Task B02_Silence_between_messages_can_be_limited()
    {
        FakeTimeProvider time = new();
        VhostUserBackendOptions options = new() { TimeProvider = time, IdleTimeout = TimeSpan.FromMinutes(1) };
        await using HostileBench bench = await HostileBench.StartAsync(options: options);
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            for (int i = 0; i < 3; i++)
            {
                await frontend.BarrierAsync();
                await time.TimersAsync();
                time.Advance(TimeSpan.FromSeconds(59));
            }

            await frontend.BarrierAsync();
            await time.TimersAsync();
            time.Advance(TimeSpan.FromSeconds(61));
            await frontend.ExpectClosedAsync();
        }

        await bench.CheckInvariantsAsync(lines: 1);
        bench.Complaints.Single().Should().Contain("silent for 60 s");
    }

    [Fact]
    public async Task B36_A_front_end_that_has_said_nothing_keeps_its_turn_while_nobody_waits()
    {
        FakeTimeProvider time = new();
        await using HostileBench bench = await HostileBench.StartAsync(options: new VhostUserBackendOptions { TimeProvider = time });
        await using (RawFrontend frontend = await bench.ConnectAsync())
        {
            for (int i = 0; i < 3; i++)
            {
                await time.TimersAsync();
                time.Advance(TimeSpan.FromSeconds(11));
            }

            await frontend.NegotiateAsync();
            await frontend.BarrierAsync();
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    [Fact]
    public async Task B36_A_front_end_that_has_said_nothing_gives_way_to_one_that_waits()
    {
        FakeTimeProvider time = new();
        await using HostileBench bench = await HostileBench.StartAsync(options: new VhostUserBackendOptions { TimeProvider = time });
        await using (RawFrontend silent = await bench.ConnectAsync())
        {
            await time.TimersAsync();
            await using RawFrontend other = await bench.ConnectAsync();
            Task negotiating = other.NegotiateAsync();
            time.Advance(TimeSpan.FromSeconds(11));
            await silent.ExpectClosedAsync();
            await negotiating;
        }

        await bench.CheckInvariantsAsync(lines: 1);
        bench.Complaints.Single().Should().Contain("not said anything for 10 s");
    }

    [Fact]
    public async Task B36_Silent_front_ends_do_not_keep_the_one_that_speaks_from_its_turn()
    {
        const int Silent = 10;
        VhostUserBackendOptions options = new() { FirstMessageTimeout = TimeSpan.FromMilliseconds(50) };
        await using HostileBench bench = await HostileBench.StartAsync(options: options);
        {
            List<RawFrontend> silent = new();
            for (int i = 0; i < Silent; i++)
                silent.Add(await bench.ConnectAsync());
            await using (RawFrontend frontend = await bench.NegotiatedAsync())
                await frontend.BarrierAsync();
            foreach (RawFrontend one in silent)
                await one.DisposeAsync();
        }

        await bench.CheckInvariantsAsync(lines: Silent);
    }

    [Fact]
    public void B36_Limits_that_mean_nothing_are_refused()
    {
        foreach (TimeSpan bad in new[] { TimeSpan.Zero, TimeSpan.FromSeconds(-1), TimeSpan.FromDays(60) })
        {
            Create(new VhostUserBackendOptions { MessageTimeout = bad }).Should().Throw<ArgumentException>().WithMessage("MessageTimeout is*");
            Create(new VhostUserBackendOptions { FirstMessageTimeout = bad }).Should().Throw<ArgumentException>();
            Create(new VhostUserBackendOptions { IdleTimeout = bad }).Should().Throw<ArgumentException>();
        }

        static Func<VhostUserBackend> Create(VhostUserBackendOptions options) => () => new VhostUserBackend(new EchoDevice(), options);
    }
}
