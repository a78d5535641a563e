using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>What a console's two sides tell each other beside bytes.</summary>
public sealed class ConsolePortTests
{
    private static readonly ConsoleDeviceOptions _threePorts = new()
    {
        Ports = [new ConsolePortOptions(), new ConsolePortOptions { Name = "org.example.agent", IsConsole = false }, new ConsolePortOptions { Name = "log" }],
        Size = new ConsoleSize(80, 25),
    };

    [Theory]
    [InlineData(VirtioFeatures.EventIndex)]
    [InlineData(VirtioFeatures.RingPacked)]
    public async Task Ports_have_names_and_streams_of_their_own(VirtioFeatures ring)
    {
        await using ConsoleLoopback console = new(_threePorts);
        await using ConsoleClient guest = await console.ConnectAsync(new ConsoleClientOptions { Ports = 5, RingFeatures = ring });
        guest.Ports.Should().HaveCount(3);
        await Task.WhenAll(guest.Ports.Select(port => port.Opened)).InTime();
        await Eventually.TrueAsync(() => console.Device.Ports.All(port => port.IsGuestOpen));

        guest.Ports.Select(port => (port.Name, port.IsConsole, port.IsAdded)).Should().Equal((null, true, true), ("org.example.agent", false, true), ("log", true, true));
        foreach (int i in (int[])[2, 0, 1])
        {
            await guest.Ports[i].Output.WriteAsync($"from {i}");
            await console.Device.Ports[i].Output.WriteAsync($"to   {i}");
        }

        for (int i = 0; i < 3; i++)
        {
            (await console.Device.Ports[i].Input.ReadTextAsync(6)).Should().Be($"from {i}");
            (await guest.Ports[i].Input.ReadTextAsync(6)).Should().Be($"to   {i}");
        }
    }

    [Fact]
    public async Task A_driver_that_takes_one_port_of_several_gets_the_first()
    {
        await using ConsoleLoopback console = new(_threePorts);
        await using ConsoleClient guest = await console.ConnectAsync(new ConsoleClientOptions { MultiPort = false });

        guest.Ports.Should().ContainSingle();
        await guest.Ports[0].Output.WriteAsync("one");
        (await console.Port.Input.ReadTextAsync(3)).Should().Be("one");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_size_is_there_at_the_start_and_a_new_one_is_told(bool multiPort)
    {
        await using ConsoleLoopback console = new(new ConsoleDeviceOptions { Size = new ConsoleSize(80, 25), MultiPort = multiPort });
        await using ConsoleClient guest = await console.ConnectAsync();
        if (multiPort)
            await Eventually.TrueAsync(() => console.Port.IsGuestOpen);
        TaskCompletionSource told = new();
        guest.SizeChanged += (_, _) => told.TrySetResult();
        guest.Size.Should().Be(new ConsoleSize(80, 25));

        await console.Device.ResizeAsync(new ConsoleSize(132, 43), console.Backend).InTime();

        await told.Task.InTime();
        guest.Size.Should().Be(new ConsoleSize(132, 43));
    }

    [Fact]
    public async Task A_size_reaches_a_driver_that_cannot_be_sent_config_changes()
    {
        await using ConsoleLoopback console = new(new ConsoleDeviceOptions { Size = new ConsoleSize(80, 25), MultiPort = true });
        await using ConsoleClient guest = await console.ConnectAsync();
        await guest.Ports[0].Opened.InTime();

        await console.Device.ResizeAsync(new ConsoleSize(10, 20), backend: null).InTime(); // so the control queue is the only way

        await Eventually.TrueAsync(() => guest.Size == new ConsoleSize(10, 20));
    }

    [Fact]
    public async Task A_device_without_a_size_cannot_get_one()
    {
        await using ConsoleLoopback console = new();
        await using ConsoleClient guest = await console.ConnectAsync();

        guest.Features.Should().NotHaveFlag(VirtioConsoleFeatures.Size);
        await console.Device.Awaiting(device => device.ResizeAsync(new ConsoleSize(1, 1), console.Backend)).Should().ThrowAsync<InvalidOperationException>();
    }

    [Fact]
    public async Task Bytes_wait_for_a_port_that_is_closed_on_either_side()
    {
        await using ConsoleLoopback console = new(_threePorts);
        console.Port.IsOpen = false;
        await using ConsoleClient guest = await console.ConnectAsync(new ConsoleClientOptions { Ports = 3 });
        await Eventually.TrueAsync(() => console.Device.Ports.All(port => port.IsGuestOpen));
        await guest.Ports[1].SetOpenAsync(open: false).InTime();
        await Eventually.TrueAsync(() => !console.Device.Ports[1].IsGuestOpen);

        await guest.Ports[0].Output.WriteAsync("early");
        await console.Device.Ports[1].Output.WriteAsync("early");
        await guest.Ports[2].Output.WriteAsync("others go on");
        (await console.Device.Ports[2].Input.ReadTextAsync(12)).Should().Be("others go on");
        (guest.Ports[0].IsDeviceOpen, console.Port.BytesFromGuest, console.Device.Ports[1].BytesToGuest).Should().Be((false, 0, 0));

        console.Port.IsOpen = true;
        await guest.Ports[1].SetOpenAsync(open: true).InTime();
        (await console.Port.Input.ReadTextAsync(5)).Should().Be("early");
        (await guest.Ports[1].Input.ReadTextAsync(5)).Should().Be("early");
    }

    [Fact]
    public async Task An_emergency_write_arrives_before_any_queue_runs_and_beside_them()
    {
        await using ConsoleLoopback console = new();
        await using (VhostUserFrontend early = await VhostUserFrontend.StartAsync(console.Connect()).InTime())
            await early.WriteConfigAsync(VirtioConsoleConfig.EmergencyWriteOffset, new byte[] { (byte)'!', 0, 0, 0 }).InTime();
        (await console.Port.Input.ReadTextAsync(1)).Should().Be("!");

        await using ConsoleClient guest = await console.ConnectAsync();
        foreach (byte character in "panic"u8.ToArray())
            await guest.EmergencyWriteAsync(character).InTime();

        (await console.Port.Input.ReadTextAsync(5)).Should().Be("panic");
    }

    [Fact]
    public async Task Emergency_writes_that_nobody_reads_do_not_pile_up()
    {
        await using ConsoleLoopback console = new(new ConsoleDeviceOptions { BufferSize = 4096 });
        await using ConsoleClient guest = await console.ConnectAsync();

        for (int i = 0; i < 8000; i++)
            await guest.EmergencyWriteAsync((byte)'x').InTime();

        console.Port.BytesFromGuest.Should().BeInRange(4096, 4096 + 1024);
        await console.Port.Input.ReadAsync(4096);
        (await console.Port.Input.ReadTextAsync(1024)).Should().Be(new string('x', 1024), "so many waited");
        await guest.EmergencyWriteAsync((byte)'y').InTime();
        (await console.Port.Input.ReadTextAsync(1)).Should().Be("y");
    }

    [Theory]
    [InlineData(0, 1)]
    [InlineData(4, 4)]
    public async Task Other_fields_cannot_be_written(uint offset, int length)
    {
        await using ConsoleLoopback console = new();
        await using ConsoleClient guest = await console.ConnectAsync();

        await guest.Awaiting(client => client.Frontend.WriteConfigAsync(offset, new byte[length])).Should().ThrowAsync<VhostUserRejectedException>();
    }
}
