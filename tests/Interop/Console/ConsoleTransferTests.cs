using System.IO.Pipelines;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>What is written at one end of a console is read at the other: all of it, in order, once.</summary>
public sealed class ConsoleTransferTests
{
    private const int Megabytes = 8 << 20;

    public static TheoryData<VirtioFeatures, bool> Rings => new()
    {
        { VirtioFeatures.None, false },
        { VirtioFeatures.EventIndex, true },
        { VirtioFeatures.InOrder, false },
        { VirtioFeatures.RingPacked, true },
        { VirtioFeatures.RingPacked | VirtioFeatures.EventIndex, false },
        { VirtioFeatures.RingPacked | VirtioFeatures.InOrder | VirtioFeatures.EventIndex, true },
    };

    [Theory]
    [MemberData(nameof(Rings))]
    public async Task A_conversation(VirtioFeatures ring, bool multiPort)
    {
        await using ConsoleLoopback console = new(new ConsoleDeviceOptions { MultiPort = multiPort });
        await using ConsoleClient guest = await console.ConnectAsync(new ConsoleClientOptions { RingFeatures = ring });
        (guest.Frontend.AcknowledgedFeatures & (VirtioFeatures.RingPacked | VirtioFeatures.InOrder | VirtioFeatures.EventIndex)).Should().Be(ring);

        await guest.Ports[0].Output.WriteAsync("login: ");
        (await console.Port.Input.ReadTextAsync(7)).Should().Be("login: ");
        await console.Port.Output.WriteAsync("root\n");
        (await guest.Ports[0].Input.ReadTextAsync(5)).Should().Be("root\n");
        await guest.Ports[0].Output.WriteAsync("Grüß Gott # ");
        (await console.Port.Input.ReadTextAsync(14)).Should().Be("Grüß Gott # ");

        (console.Port.BytesFromGuest, console.Port.BytesToGuest, console.Device.RefusedControlMessages).Should().Be((21, 5, 0));
    }

    [Theory]
    [MemberData(nameof(Rings))]
    public async Task Megabytes_both_ways_at_the_same_time(VirtioFeatures ring, bool multiPort)
    {
        await using ConsoleLoopback console = new(new ConsoleDeviceOptions { MultiPort = multiPort });
        await using ConsoleClient guest = await console.ConnectAsync(new ConsoleClientOptions { RingFeatures = ring });
        byte[] there = ConsoleBytes.Some(Megabytes, 1);
        byte[] back = ConsoleBytes.Some(Megabytes, 2);

        Task<string> atDevice = console.Port.Input.ReadHashAsync(there.Length);
        Task<string> atGuest = guest.Ports[0].Input.ReadHashAsync(back.Length);
        Task writers = Task.WhenAll(guest.Ports[0].Output.WriteAsync(there).AsTask(), console.Port.Output.WriteAsync(back).AsTask());

        (await atDevice).Should().Be(ConsoleBytes.Hash(there));
        (await atGuest).Should().Be(ConsoleBytes.Hash(back));
        await writers.InTime();
    }

    [Fact]
    public async Task A_guest_waits_while_nobody_reads_and_loses_nothing()
    {
        await using ConsoleLoopback console = new(new ConsoleDeviceOptions { BufferSize = 4096 });
        await using ConsoleClient guest = await console.ConnectAsync(new ConsoleClientOptions { PipeSize = 4096, BufferSize = 1024, QueueSize = 4 });
        byte[] text = ConsoleBytes.Some(1 << 20, 3);

        Task writing = guest.Ports[0].Output.WriteAsync(text).AsTask();
        await Eventually.TrueAsync(() => console.Port.BytesFromGuest >= 4096);
        console.Port.BytesFromGuest.Should().BeLessThan(4096 + 1024 + 1, "the rest is still the guest's");
        writing.IsCompleted.Should().BeFalse();

        (await console.Port.Input.ReadHashAsync(text.Length)).Should().Be(ConsoleBytes.Hash(text));
        await writing.InTime();
    }

    [Fact]
    public async Task The_application_waits_while_the_guest_reads_nothing_and_loses_nothing()
    {
        await using ConsoleLoopback console = new(new ConsoleDeviceOptions { BufferSize = 4096 });
        await using ConsoleClient guest = await console.ConnectAsync(new ConsoleClientOptions { PipeSize = 4096, BufferSize = 1024, QueueSize = 4 });
        byte[] text = ConsoleBytes.Some(1 << 20, 4);

        Task writing = console.Port.Output.WriteAsync(text).AsTask();
        await Eventually.TrueAsync(() => console.Port.BytesToGuest >= 4096);
        writing.IsCompleted.Should().BeFalse();
        console.Port.BytesToGuest.Should().BeLessThan(64 << 10);

        (await guest.Ports[0].Input.ReadHashAsync(text.Length)).Should().Be(ConsoleBytes.Hash(text));
        await writing.InTime();
    }

    [Fact]
    public async Task What_nobody_wants_is_thrown_away_and_the_guest_goes_on()
    {
        await using ConsoleLoopback console = new();
        await using ConsoleClient guest = await console.ConnectAsync();
        await console.Port.Input.CompleteAsync();

        await guest.Ports[0].Output.WriteAsync(ConsoleBytes.Some(Megabytes, 5)).AsTask().WaitAsync(TimeSpan.FromSeconds(30));
        await guest.Ports[0].Output.CompleteAsync();

        await guest.Ports[0].Sent.InTime();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_guest_that_leaves_in_the_middle_and_comes_back_goes_on_where_it_was(bool packed)
    {
        await using ConsoleLoopback console = new(new ConsoleDeviceOptions { BufferSize = 4096 });
        ConsoleClientOptions options = new() { RingFeatures = packed ? VirtioFeatures.RingPacked : VirtioFeatures.None, BufferSize = 512, QueueSize = 4 };
        byte[] text = ConsoleBytes.Some(200_000, 6);
        Task writing = console.Port.Output.WriteAsync(text).AsTask();
        List<byte> got = [];
        await using (ConsoleClient first = await console.ConnectAsync(options))
            got.AddRange(await first.Ports[0].Input.ReadAsync(10_000));
        await Eventually.TrueAsync(() => !console.Port.IsGuestOpen);
        long given = console.Port.BytesToGuest; // what the first had in its buffers is gone with it

        await using ConsoleClient second = await console.ConnectAsync(options);
        byte[] rest = text[(int)given..];

        got.Should().Equal(text[..10_000]);
        (await second.Ports[0].Input.ReadHashAsync(rest.Length)).Should().Be(ConsoleBytes.Hash(rest));
        await writing.InTime();
        await second.Ports[0].Output.WriteAsync("here again");
        (await console.Port.Input.ReadTextAsync(10)).Should().Be("here again");
    }

    [Fact]
    public async Task A_client_that_loses_its_device_says_so_at_every_end()
    {
        ConsoleLoopback console = new();
        await using ConsoleClient guest = await console.ConnectAsync();
        Task<ReadResult> reading = guest.Ports[0].Input.ReadAsync().AsTask();

        await console.DisposeAsync();

        await guest.Invoking(client => client.Completion).Should().ThrowAsync<VhostUserDisconnectedException>().WaitAsync(Eventually.Deadline);
        await reading.Awaiting(task => task).Should().ThrowAsync<VhostUserDisconnectedException>().WaitAsync(Eventually.Deadline);
        await guest.Ports[0].Awaiting(port => port.Sent).Should().ThrowAsync<VhostUserDisconnectedException>().WaitAsync(Eventually.Deadline);
    }
}
