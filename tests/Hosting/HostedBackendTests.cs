using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Options;
using Vhost.Backend;
using Vhost.Backend.Hosting;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Hosting.Tests;

/// <summary>Back-ends that a host starts and stops.</summary>
[System.Runtime.Versioning.SupportedOSPlatform("linux")]
public sealed class HostedBackendTests : IDisposable
{
    private readonly TempSocket _socket = new();

    public void Dispose() => _socket.Dispose();

    [Fact]
    public async Task A_disk_is_served_while_the_host_runs()
    {
        await using TestHost host = await TestHost.StartDiskAsync(_socket.Path);

        await TestHost.UseAsync(_socket.Path);
        host.Backend().Device.Should().NotBeNull();
        await host.StopAsync();

        _socket.Exists.Should().BeFalse();
        host.Backend().State.Should().Be(HostedBackendState.Stopped);
    }

    [Fact]
    public async Task Several_are_served_beside_each_other_and_a_name_is_taken_once()
    {
        using TempSocket other = new();
        await using TestHost host = TestHost.Build(services =>
        {
            services.AddVhostUserBackend("disk", options => options.SocketPath = _socket.Path, _ => TestHost.Disk());
            services.AddVhostUserBackend("other", options => options.SocketPath = other.Path, _ => TestHost.Disk());
            services.Invoking(all => all.AddVhostUserBackend("disk", _ => { }, _ => TestHost.Disk())).Should().Throw<ArgumentException>().WithMessage("*'disk'*");
        });
        await host.StartAsync();

        await Task.WhenAll(TestHost.UseAsync(_socket.Path), TestHost.UseAsync(other.Path));
    }

    [Fact]
    public async Task A_client_connects_to_a_front_end_that_listens()
    {
        await using VhostUserListener listener = VhostUserListener.Listen(_socket.Path);
        await using TestHost host = TestHost.Build(services => services.AddVhostUserBackend(
            "disk", TestHost.Settings(("SocketPath", _socket.Path), ("Client", "true")), _ => TestHost.Disk()));
        await host.StartAsync();

        await using BlockClient disk = await BlockClient.AcceptAsync(listener).InTime();
        await disk.WriteAsync(0, new byte[512]).InTime();
    }

    [Fact]
    public async Task Settings_of_configuration_are_used()
    {
        await using TestHost host = TestHost.Build(services => services.AddVhostUserBackend(
            "disk",
            TestHost.Settings(
                ("socketpath", _socket.Path), ("SocketMode", "600"), ("Dispatch", "dedicatedthread"), ("Processors:0", "0"), ("DrainTimeout", "00:00:01.5"), ("SocketName", "s")),
            _ => TestHost.Disk()));
        await host.StartAsync();

        File.GetUnixFileMode(_socket.Path).Should().Be(UnixFileMode.UserRead | UnixFileMode.UserWrite);
        HostedBackendOptions options = host.Services.GetRequiredService<IOptionsMonitor<HostedBackendOptions>>().Get("disk");
        (options.Dispatch, options.DrainTimeout, options.SocketName).Should().Be((QueueDispatch.DedicatedThread, TimeSpan.FromSeconds(1.5), "s"));
        options.Processors.Should().Equal(0);
        await TestHost.UseAsync(_socket.Path);
    }

    [Theory]
    [InlineData("DrainTimeout", "soon", "VhostUser:disk:DrainTimeout 'soon': must be a time like 00:00:05, more than 00:00:00 and at most 1.00:00:00.")]
    [InlineData("DrainTimeout", "-00:00:01", "Back-end 'disk': DrainTimeout -00:00:01: must be more than 00:00:00, at most 1.00:00:00.")]
    [InlineData("Dispatch", "Often", "VhostUser:disk:Dispatch 'Often': must be one of Async, DedicatedThread, BusyPoll, Application, SharedThreads.")]
    [InlineData("Processors", "1-x", "VhostUser:disk:Processors '1-x': must be processor numbers like 0,2-3, each from 0 to 1023.")]
    [InlineData("SocketMode", "888", "VhostUser:disk:SocketMode '888': must be octal permissions like 660.")]
    [InlineData("Client", "maybe", "VhostUser:disk:Client 'maybe': must be true or false.")]
    [InlineData("SocketPaht", "/x", "VhostUser:disk:SocketPaht '/x': no such setting; there are SocketPath, *")]
    [InlineData("SocketPath", "", "Back-end 'disk': SocketPath is missing*")]
    [InlineData("SocketGroup", "no-such-group", "Back-end 'disk': SocketGroup 'no-such-group': There is no group 'no-such-group' on this system. *number.")]
    [InlineData("Dispatch", "Application", "Back-end 'disk': Dispatch is Application: BlockDevice does not implement IApplicationServedDevice, so nobody would serve a queue with Application.")]
    public async Task A_wrong_setting_fails_the_start_with_key_value_and_what_is_allowed(string key, string value, string complaint)
    {
        await using TestHost host = TestHost.Build(services => services.AddVhostUserBackend(
            "disk", TestHost.Settings((key, value), ("SocketPath", _socket.Path)), _ => TestHost.Disk()));

        await host.Awaiting(one => one.StartAsync()).Should().ThrowAsync<OptionsValidationException>().WithMessage(complaint);
        _socket.Exists.Should().BeFalse();
    }

    [Fact]
    public async Task Nowhere_to_serve_fails_the_start()
    {
        await using TestHost host = TestHost.Build(services => services.AddVhostUserBackend("disk", _ => { }, _ => TestHost.Disk()));

        await host.Awaiting(one => one.StartAsync()).Should().ThrowAsync<OptionsValidationException>().WithMessage("Back-end 'disk': SocketPath is missing*named 'disk'*");
    }

    [Theory]
    [InlineData("DedicatedThread", null)]
    [InlineData("SharedThreads", "1")]
    public async Task A_processor_that_this_process_has_not_fails_the_start_with_those_that_it_has(string dispatch, string? threads)
    {
        await using TestHost host = TestHost.Build(services => services.AddVhostUserBackend(
            "disk", TestHost.Settings(("SocketPath", _socket.Path), ("Dispatch", dispatch), ("SharedThreads", threads ?? ""), ("Processors", "0,1023")), _ => TestHost.Disk()));

        await host.Awaiting(one => one.StartAsync()).Should().ThrowAsync<OptionsValidationException>()
            .WithMessage($"Back-end 'disk': Processors 0,1023: this process cannot run on 1023; must be of {string.Join(',', QueueThreads.AllowedProcessors)}.");
    }

    [Fact]
    public async Task A_setting_with_an_empty_value_is_one_that_is_not_set()
    {
        await using TestHost host = TestHost.Build(services => services.AddVhostUserBackend(
            "disk", TestHost.Settings(("SocketPath", _socket.Path), ("SocketMode", ""), ("SocketGroup", ""), ("DrainTimeout", ""), ("Client", ""), ("Processors", "")), _ => TestHost.Disk()));
        await host.StartAsync();

        HostedBackendOptions options = host.Services.GetRequiredService<IOptionsMonitor<HostedBackendOptions>>().Get("disk");
        options.Should().BeEquivalentTo(new HostedBackendOptions { SocketPath = _socket.Path });
        await TestHost.UseAsync(_socket.Path);
    }

    [Fact]
    public async Task Client_mode_says_which_settings_to_remove()
    {
        await using TestHost host = TestHost.Build(services => services.AddVhostUserBackend(
            "disk", TestHost.Settings(("SocketPath", _socket.Path), ("Client", "true"), ("SocketMode", "660")), _ => TestHost.Disk()));

        await host.Awaiting(one => one.StartAsync()).Should().ThrowAsync<OptionsValidationException>()
            .WithMessage("Back-end 'disk': Client true: needs no SocketMode, which is about a socket file of our own: remove it, or give it an empty value.");
    }

    [Fact]
    public async Task A_device_that_cannot_be_made_fails_the_start_with_the_name_of_its_back_end()
    {
        await using TestHost host = TestHost.Build(services => services.AddVhostUserBackend(
            "disk", options => options.SocketPath = _socket.Path, _ => new BlockDevice(new MemoryStorage(1 << 20), new BlockDeviceOptions { Queues = 257 })));

        (await host.Awaiting(one => one.StartAsync()).Should().ThrowAsync<InvalidOperationException>()
            .WithMessage("Back-end 'disk': its device cannot be made: Queues 257: must be 1 to 256*")).WithInnerException<ArgumentException>();
    }

    [Fact]
    public async Task A_socket_that_cannot_be_used_fails_the_start()
    {
        await using TestHost first = await TestHost.StartDiskAsync(_socket.Path);

        await FluentActions.Awaiting(() => TestHost.StartDiskAsync(_socket.Path)).Should().ThrowAsync<IOException>().WithMessage($"Back-end 'disk': *{_socket.Path}*");
        await TestHost.UseAsync(_socket.Path);
    }

    [Fact]
    public async Task Stopping_waits_for_what_is_under_way_and_the_device_is_disposed_last()
    {
        KeepingDevice device = new();
        await using TestHost host = TestHost.Build(services => services.AddVhostUserBackend("disk", options => options.SocketPath = _socket.Path, _ => device));
        await host.StartAsync();
        await using BlockClient disk = await BlockClient.ConnectAsync(_socket.Path).InTime();
        Task reading = disk.ReadAsync(0, new byte[512]).AsTask();
        await Eventually.TrueAsync(() => !device.Kept.IsEmpty);

        Task stopping = host.StopAsync();
        await Eventually.TrueAsync(() => host.Backend().State == HostedBackendState.Stopped);
        stopping.IsCompleted.Should().BeFalse("a request is under way");
        device.Answer();

        await stopping;
        await reading.InTime();
        device.IsDisposed.Should().BeFalse();
        await host.DisposeAsync();
        device.IsDisposed.Should().BeTrue();
    }

    [Fact]
    public async Task Stopping_ends_although_a_request_never_does()
    {
        KeepingDevice device = new();
        await using TestHost host = TestHost.Build(services => services.AddVhostUserBackend(
            "disk", TestHost.Settings(("SocketPath", _socket.Path), ("DrainTimeout", "00:00:00.1")), _ => device));
        await host.StartAsync();
        await using BlockClient disk = await BlockClient.ConnectAsync(_socket.Path).InTime();
        Task reading = disk.ReadAsync(0, new byte[512]).AsTask();
        await Eventually.TrueAsync(() => !device.Kept.IsEmpty);

        await host.StopAsync();

        await reading.Awaiting(task => task).Should().ThrowAsync<VhostUserException>().WaitAsync(Eventually.Deadline);
        device.Answer(); // lets go of the memory
    }

    [Fact]
    public async Task A_host_in_a_hurry_leaves_a_back_end_behind()
    {
        KeepingDevice device = new();
        await using TestHost host = TestHost.Build(services => services.AddVhostUserBackend("disk", options => options.SocketPath = _socket.Path, _ => device));
        await host.StartAsync();
        await using BlockClient disk = await BlockClient.ConnectAsync(_socket.Path).InTime();
        Task reading = disk.ReadAsync(0, new byte[512]).AsTask();
        await Eventually.TrueAsync(() => !device.Kept.IsEmpty);

        using CancellationTokenSource hurry = new();
        Task stopping = host.Backend().StopAsync(hurry.Token);
        stopping.IsCompleted.Should().BeFalse();
        await hurry.CancelAsync();

        await stopping.InTime();
        device.Answer();
        await reading.InTime();
    }

    [Fact]
    public async Task Health_follows_what_the_back_end_does()
    {
        KeepingDevice device = new();
        await using TestHost host = TestHost.Build(services =>
        {
            services.AddLogging().AddVhostUserBackend("disk", options => options.SocketPath = _socket.Path, _ => device);
            services.AddHealthChecks().AddVhostUserBackend("disk");
        });
        (await host.HealthAsync()).Should().Be((HealthStatus.Unhealthy, "is not started"));
        await host.StartAsync();
        (await host.HealthAsync()).Should().Be((HealthStatus.Healthy, $"waits for a front-end on {_socket.Path}"));

        await using (BlockClient disk = await BlockClient.ConnectAsync(_socket.Path).InTime())
        {
            (HealthStatus Status, string? Text) connected = await host.HealthAsync();
            connected.Status.Should().Be(HealthStatus.Healthy);
            connected.Text.Should().StartWith("serves ").And.EndWith("1 queues running");
            device.Throws = true;
            Task reading = disk.ReadAsync(0, new byte[512]).AsTask();
            await Eventually.TrueAsync(() => host.HealthAsync().GetAwaiter().GetResult() is { Status: HealthStatus.Unhealthy, Text: { } text } && text.EndsWith("broken queues 0", StringComparison.Ordinal));
            device.Throws = false;
        }

        await Eventually.TrueAsync(() => host.Backend().State == HostedBackendState.Waiting);
        (await host.HealthAsync()).Status.Should().Be(HealthStatus.Healthy, "the next front-end starts afresh");
        await host.StopAsync();
        (await host.HealthAsync()).Should().Be((HealthStatus.Unhealthy, "is stopped"));
    }

    [Fact]
    public async Task A_back_end_that_cannot_go_on_stops_the_host_and_says_why()
    {
        await using TestHost host = TestHost.Build(services =>
        {
            services.AddLogging().AddVhostUserBackend(
                "disk",
                options =>
                {
                    options.SocketPath = _socket.Path; // where nobody listens
                    options.Client = true;
                    options.Backend = backend => backend with { Retry = null };
                },
                _ => TestHost.Disk());
            services.AddHealthChecks().AddVhostUserBackend("disk", HealthStatus.Degraded);
        });
        await host.StartAsync();

        await Eventually.TrueAsync(() => host.Stopping.IsCancellationRequested);
        (host.Backend().State, host.ExitCode).Should().Be((HostedBackendState.Failed, 1));
        (HealthStatus Status, string? Text) health = await host.HealthAsync();
        health.Status.Should().Be(HealthStatus.Degraded);
        health.Text.Should().StartWith("cannot go on: ").And.Contain(_socket.Path);
    }
}
