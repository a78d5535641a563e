using System.Net.Sockets;
using System.Text;
using Microsoft.Extensions.DependencyInjection;
using Vhost.Backend;
using Vhost.Backend.Hosting;
using Vhost.Frontend;
using Vhost.Interop.Tests;
using Vhost.Tests.Support;

namespace Vhost.Hosting.Tests;

/// <summary>What systemd hears, and what it passes.</summary>
public sealed class SystemdTests : IDisposable
{
    private readonly TempSocket _socket = new();
    private readonly TempSocket _manager = new(".notify");

    public void Dispose()
    {
        _socket.Dispose();
        _manager.Dispose();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task It_hears_that_the_host_is_ready_what_it_does_and_that_it_stops(bool isAbstract)
    {
        string address = isAbstract ? "@" + _manager.Path : _manager.Path;
        using Socket manager = Listen(address);
        await using TestHost host = Build(new SystemdSettings(address, WatchdogInterval: null));
        await host.StartAsync();
        (await HearAsync(manager)).Should().Be($"READY=1\nSTATUS=disk: waiting on {_socket.Path}");

        await using (await BlockClient.ConnectAsync(_socket.Path).InTime())
            (await HearAsync(manager)).Should().Be("STATUS=disk: connected");
        (await HearAsync(manager)).Should().Be($"STATUS=disk: waiting on {_socket.Path}");

        await host.StopAsync();
        (await HearAsync(manager)).Should().Be("STOPPING=1\nSTATUS=stopping");
    }

    [Fact]
    public async Task It_hears_at_the_end_why_a_back_end_cannot_go_on()
    {
        using Socket manager = Listen(_manager.Path);
        await using TestHost host = Build(new SystemdSettings(_manager.Path, WatchdogInterval: null), options =>
        {
            options.Client = true; // of a front-end that does not come
            options.Retry = new ConnectRetry { Delay = TimeSpan.FromMilliseconds(10), LongestDelay = TimeSpan.FromMilliseconds(10), Limit = TimeSpan.FromMilliseconds(300) };
        });
        await host.StartAsync();

        string heard = "";
        while (!heard.StartsWith("STOPPING=1", StringComparison.Ordinal))
            heard = await HearAsync(manager);

        heard.Should().StartWith("STOPPING=1\nSTATUS=disk: cannot go on: ").And.Contain(_socket.Path);
    }

    [Fact]
    public async Task It_gets_a_sign_of_life_twice_as_often_as_it_must()
    {
        using Socket manager = Listen(_manager.Path);
        await using TestHost host = Build(new SystemdSettings(_manager.Path, TimeSpan.FromMilliseconds(40)));
        await host.StartAsync();

        List<string> heard = [];
        while (heard.Count(message => message == "WATCHDOG=1") < 3)
            heard.Add(await HearAsync(manager));

        heard.Should().ContainSingle(message => message.StartsWith("READY=1", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_manager_that_does_not_listen_is_no_reason_to_fail()
    {
        await using TestHost host = Build(new SystemdSettings(_manager.Path, TimeSpan.FromMilliseconds(1)));
        await host.StartAsync();

        await TestHost.UseAsync(_socket.Path);
    }

    [Theory]
    [InlineData("/run/systemd/notify", null, "20000000", "/run/systemd/notify", 20.0)]
    [InlineData("@abstract", "42", "500000", "@abstract", 0.5)]
    [InlineData("/x", "43", "500000", "/x", null)]
    [InlineData("vsock:2:1", "42", "0", null, null)]
    [InlineData("", null, "-1", null, null)]
    [InlineData(null, null, "99999999999999999999", null, null)]
    public void Its_wishes_are_in_the_environment(string? socket, string? process, string? interval, string? address, double? seconds)
    {
        Dictionary<string, string?> environment = new(StringComparer.Ordinal) { ["NOTIFY_SOCKET"] = socket, ["WATCHDOG_PID"] = process, ["WATCHDOG_USEC"] = interval };

        SystemdSettings.From(name => environment.GetValueOrDefault(name), process: 42)
            .Should().Be(new SystemdSettings(address, seconds is { } some ? TimeSpan.FromSeconds(some) : null));
    }

    [Theory]
    [InlineData("42", "3", "disk:net:disk", "disk", new[] { 3, 5 })]
    [InlineData("42", "3", "disk:net:disk", "net", new[] { 4 })]
    [InlineData("42", "2", "disk.socket:x", "disk", new[] { 3 })]
    [InlineData("42", "2", null, "unknown", new[] { 3, 4 })]
    [InlineData("42", "2", "disk", "other", new int[0])]
    [InlineData("41", "2", "disk:disk", "disk", new int[0])]
    [InlineData("x", "2", "disk:disk", "disk", new int[0])]
    [InlineData("42", "-1", "disk", "disk", new int[0])]
    [InlineData(null, null, null, "disk", new int[0])]
    [InlineData("42", "1", "connection", "disk", new[] { 3 })]
    [InlineData("42", "1", null, "disk", new[] { 3 })]
    [InlineData("42", "1", "unknown", "disk", new int[0])]
    [InlineData("42", "1", "connection", "disk", new int[0], false)]
    [InlineData("42", "2", "connection:connection", "disk", new int[0])]
    public void Sockets_are_found_by_name_once_each(string? process, string? count, string? names, string name, int[] numbers, bool isOnlyBackend = true)
    {
        Dictionary<string, string?> environment = new(StringComparer.Ordinal) { ["LISTEN_PID"] = process, ["LISTEN_FDS"] = count, ["LISTEN_FDNAMES"] = names };
        SystemdSockets sockets = new(one => environment.GetValueOrDefault(one), process: 42);
        List<int> found = [];
        while (sockets.TryTake(name, isOnlyBackend) is { } socket)
        {
            found.Add((int)socket.DangerousGetHandle());
            socket.SetHandleAsInvalid(); // they are not there
        }

        found.Should().Equal(numbers);
    }

    [SkippableFact]
    public async Task The_example_serves_a_socket_that_it_was_passed_and_notifies()
    {
        Skip.IfNot(File.Exists("/bin/bash"), "no /bin/bash, which can give a descriptor another number");
        using TempSocket image = new(".img");
        await File.WriteAllBytesAsync(image.Path, new byte[1 << 20]);
        using Socket manager = Listen(_manager.Path);
        using Socket listening = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listening.Bind(new UnixDomainSocketEndPoint(_socket.Path));
        listening.Listen();
        await using ChildProcess example = StartExample(listening, image.Path);

        (await HearAsync(manager)).Should().Be("READY=1\nSTATUS=disk: waiting on inherited socket 'disk'");
        await TestHost.UseAsync(_socket.Path);
        ChildProcess.Outcome outcome = await example.TerminateAsync();

        outcome.ExitCode.Should().Be(0, string.Join(" | ", outcome.Errors));
        _socket.Exists.Should().BeTrue("it is the service manager's");
    }

    [Fact]
    public async Task The_example_serves_the_path_of_its_settings()
    {
        using TempSocket image = new(".img");
        await File.WriteAllBytesAsync(image.Path, new byte[1 << 20]);
        using Socket manager = Listen(_manager.Path);
        await using ChildProcess example = ChildProcess.Start(
            "env", "--default-signal", $"NOTIFY_SOCKET={_manager.Path}", "dotnet", HostedExample.Assembly, $"--Image={image.Path}", $"--VhostUser:disk:SocketPath={_socket.Path}");

        (await HearAsync(manager)).Should().Contain("READY=1");
        await TestHost.UseAsync(_socket.Path);

        (await example.TerminateAsync()).ExitCode.Should().Be(0);
        _socket.Exists.Should().BeFalse();
    }

    private static Socket Listen(string address)
    {
        Socket socket = new(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
        socket.Bind(new UnixDomainSocketEndPoint(address[0] == '@' ? '\0' + address[1..] : address));
        return socket;
    }

    private static async Task<string> HearAsync(Socket manager)
    {
        byte[] bytes = new byte[4096];
        int count = await manager.ReceiveAsync(bytes).WaitAsync(TimeSpan.FromSeconds(30));
        return Encoding.UTF8.GetString(bytes.AsSpan(0, count));
    }

    private TestHost Build(SystemdSettings settings, Action<HostedBackendOptions>? configure = null) => TestHost.Build(services =>
    {
        services.AddLogging().AddSingleton(settings);
        services.AddVhostUserBackend("disk", options => options.SocketPath = _socket.Path, _ => TestHost.Disk());
        services.PostConfigure<HostedBackendOptions>("disk", options => configure?.Invoke(options));
        services.AddVhostUserSystemdNotifications();
    });

    /// <summary>As systemd does: descriptor 3, and the process's own number, which exec keeps.</summary>
    private ChildProcess StartExample(Socket listening, string image)
    {
        using InheritableDescriptor inheritable = new(listening.SafeHandle);
        string line = $"exec 3<&{inheritable.Number}; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=disk NOTIFY_SOCKET='{_manager.Path}'; exec dotnet '{HostedExample.Assembly}' '--Image={image}'";
        return ChildProcess.Start("env", "--default-signal", "/bin/bash", "-c", line);
    }
}
