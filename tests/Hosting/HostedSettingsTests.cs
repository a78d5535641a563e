using System.Net.Sockets;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;
using Vhost.Backend;
using Vhost.Backend.Hosting;
using Vhost.Tests.Support;

namespace Vhost.Hosting.Tests;

/// <summary>What configuration says arrives where it has an effect.</summary>
public sealed class HostedSettingsTests : IDisposable
{
    private readonly TempSocket _socket = new();

    public void Dispose() => _socket.Dispose();

    [Fact]
    public async Task Settings_are_options_of_the_back_end()
    {
        VhostUserBackendOptions? used = null;
        await using TestHost host = TestHost.Build(services =>
        {
            services.AddVhostUserBackend(
                "disk",
                TestHost.Settings(
                    ("SocketPath", _socket.Path), ("Retry:Delay", "00:00:00.5"), ("Retry:longestdelay", "00:00:03"), ("Retry:Limit", "00:01:00"), ("RequireSealedMemory", "true"),
                    ("MaxMemorySlots", "8"), ("IdleTimeout", "01:00:00"), ("FirstMessageTimeout", "infinite"), ("MessageTimeout", "00:00:02"), ("SendTimeout", "00:00:03"),
                    ("ViolationPause", "00:00:00")),
                _ => TestHost.Disk());
            services.PostConfigure<HostedBackendOptions>("disk", options => options.Backend = backend => used = backend);
        });
        await host.StartAsync();

        used!.Retry.Should().Be(new ConnectRetry { Delay = TimeSpan.FromSeconds(0.5), LongestDelay = TimeSpan.FromSeconds(3), Limit = TimeSpan.FromMinutes(1) });
        (used.RequireSealedMemory, used.MaxMemorySlots).Should().Be((true, 8));
        (used.IdleTimeout, used.FirstMessageTimeout).Should().Be((TimeSpan.FromHours(1), Timeout.InfiniteTimeSpan));
        (used.MessageTimeout, used.SendTimeout, used.ViolationPause).Should().Be((TimeSpan.FromSeconds(2), TimeSpan.FromSeconds(3), TimeSpan.Zero));
        (used.Name, host.Backend().Backend.Name).Should().Be(("disk", "disk"));
    }

    [Theory]
    [InlineData("false", false)]
    [InlineData("true", true)]
    public async Task Looking_for_a_front_end_again_can_be_turned_off(string value, bool retries)
    {
        await using TestHost host = TestHost.Build(services => services.AddVhostUserBackend("disk", TestHost.Settings(("Retry", value)), _ => TestHost.Disk()));

        HostedBackendOptions options = host.Services.GetRequiredService<IOptionsMonitor<HostedBackendOptions>>().Get("disk");

        (options.Retry is not null).Should().Be(retries);
    }

    [Fact]
    public async Task Back_ends_with_the_same_threads_share_them()
    {
        using TempSocket other = new();
        List<QueueThreads?> threads = [];
        await using TestHost host = TestHost.Build(services =>
        {
            foreach ((string name, string path, string count, string poll) in new[]
            {
                ("one", _socket.Path, "2", "false"), ("two", other.Path, "2", "false"), ("three", $"{other.Path}3", "1", "false"), ("four", $"{other.Path}4", "1", "true"),
            })
            {
                services.AddVhostUserBackend(
                    name, TestHost.Settings(("SocketPath", path), ("Dispatch", "SharedThreads"), ("SharedThreads", count), ("PollSharedThreads", poll)), _ => TestHost.Disk());
                services.PostConfigure<HostedBackendOptions>(name, options => options.Backend = backend =>
                {
                    threads.Add(backend.Threads);
                    return backend;
                });
            }
        });
        await host.StartAsync();

        threads.Should().HaveCount(4).And.NotContainNulls();
        threads[0].Should().BeSameAs(threads[1]).And.NotBeSameAs(threads[2]);
        threads[2].Should().NotBeSameAs(threads[3], "these poll");
        threads.Select(one => one!.Count).Should().Equal(2, 2, 1, 1);
        await Task.WhenAll(TestHost.UseAsync(_socket.Path), TestHost.UseAsync(other.Path), TestHost.UseAsync($"{other.Path}4"));
    }

    [Theory]
    [InlineData("Retry", "often", "VhostUser:disk:Retry 'often': must be true or false.")]
    [InlineData("Retry:Often", "1", "VhostUser:disk:Retry:Often '1': no such setting; there are Delay, LongestDelay, Limit.")]
    [InlineData("Retry:Delay", "00:00:05", "Back-end 'disk': Retry:Delay 00:00:05, Retry:LongestDelay 00:00:02: must be more than 00:00:00, in this order, at most 01:00:00.")]
    [InlineData("SharedThreads", "0", "VhostUser:disk:SharedThreads '0': must be a number from 1 to 1024.")]
    [InlineData("SharedThreads", "2", "Back-end 'disk': SharedThreads 2: needs Dispatch SharedThreads, but that is Async.")]
    [InlineData("Dispatch", "SharedThreads", "Back-end 'disk': Dispatch SharedThreads: needs SharedThreads, how many there are, or threads that Backend sets in code.")]
    [InlineData("PollSharedThreads", "true", "Back-end 'disk': PollSharedThreads true: needs SharedThreads, how many there are.")]
    [InlineData("Processors", "0,2-3", "Back-end 'disk': Processors 0,2,3: needs Dispatch DedicatedThread, BusyPoll or SharedThreads, but that is Async, which has no threads to bind.")]
    [InlineData("ViolationPause", "01:00:01", "Back-end 'disk': ViolationPause 01:00:01: must be 00:00:00 to 01:00:00.")]
    [InlineData("ViolationPause", "long", "VhostUser:disk:ViolationPause 'long': must be a time like 00:00:05, 00:00:00 to 01:00:00.")]
    [InlineData("MaxMemorySlots", "510", "VhostUser:disk:MaxMemorySlots '510': must be a number from 1 to 509.")]
    [InlineData("RequireSealedMemory", "1", "VhostUser:disk:RequireSealedMemory '1': must be true or false.")]
    [InlineData("IdleTimeout", "-00:00:01", "Back-end 'disk': IdleTimeout -00:00:01: must be more than 00:00:00, at most 1.00:00:00, or infinite.")]
    [InlineData("IdleTimeout", "never", "VhostUser:disk:IdleTimeout 'never': must be a time like 00:00:05, more than 00:00:00 and at most 1.00:00:00, or infinite.")]
    public async Task A_wrong_one_fails_the_start_with_key_value_and_what_is_allowed(string key, string value, string complaint)
    {
        await using TestHost host = TestHost.Build(services => services.AddVhostUserBackend(
            "disk", TestHost.Settings((key, value), ("SocketPath", _socket.Path)), _ => TestHost.Disk()));

        await host.Awaiting(one => one.StartAsync()).Should().ThrowAsync<OptionsValidationException>().WithMessage(complaint);
    }

    [Fact]
    public async Task A_front_end_that_stops_inside_a_message_is_given_the_time_that_was_set()
    {
        await using TestHost host = TestHost.Build(services => services.AddVhostUserBackend(
            "disk", TestHost.Settings(("SocketPath", _socket.Path), ("MessageTimeout", "00:00:00.05")), _ => TestHost.Disk()));
        await host.StartAsync();
        using Socket frontend = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await frontend.ConnectAsync(new UnixDomainSocketEndPoint(_socket.Path));

        await frontend.SendAsync(new byte[] { 1 });

        // The default is ten seconds.
        (await frontend.ReceiveAsync(new byte[1]).WaitAsync(TimeSpan.FromSeconds(8))).Should().Be(0);
    }
}
