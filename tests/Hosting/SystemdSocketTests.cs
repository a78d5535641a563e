using System.Globalization;
using System.Net.Sockets;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Microsoft.Win32.SafeHandles;
using Vhost.Backend.Hosting;
using Vhost.Frontend;
using Vhost.Interop.Tests;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Hosting.Tests;

/// <summary>What becomes of a socket that the service manager has passed.</summary>
public sealed class SystemdSocketTests : IDisposable
{
    private const int CloseOnExec = 0x80000;

    private readonly TempSocket _socket = new();
    private readonly TempSocket _passed = new();
    private readonly LogRecorder _log = new();

    public void Dispose()
    {
        _socket.Dispose();
        _passed.Dispose();
        _log.Dispose();
    }

    [Fact]
    public async Task A_connection_that_was_accepted_by_the_manager_is_served_under_the_name_that_it_has_then()
    {
        (VhostUserConnection end, int number) = Accepted();
        await using TestHost host = Build(number, "connection", options => options.SocketName = "disk");
        await host.StartAsync();

        await using (BlockClient disk = await BlockClient.StartAsync(end).InTime())
            await disk.WriteAsync(0, new byte[512]).InTime();

        await Eventually.TrueAsync(() => host.Stopping.IsCancellationRequested);
        host.Backend().State.Should().Be(HostedBackendState.Stopped);
    }

    [Fact]
    public async Task One_that_no_back_end_takes_is_warned_of_and_left_to_whoever_may_have_taken_it()
    {
        int number = Listening();
        await using TestHost host = Build(number, "dsk", options => options.SocketPath = _socket.Path);
        await host.StartAsync();

        Warnings.Should().ContainSingle().Which.Should().Contain("'dsk'").And.Contain(_passed.Path).And.Contain("SocketName");
        Connect(_passed.Path).Dispose();
        using SafeFileHandle ours = new(number, ownsHandle: true);
        await TestHost.UseAsync(_socket.Path);
    }

    [Fact]
    public async Task One_that_another_part_of_the_program_uses_is_kept()
    {
        int number = Listening();
        await using TestHost host = Build(number, "web", options => options.SocketPath = _socket.Path, services => services.KeepSystemdSocket("web"));
        await host.StartAsync();

        Warnings.Should().BeEmpty();
        Connect(_passed.Path).Dispose();
        using SafeFileHandle ours = new(number, ownsHandle: true);
    }

    [Fact]
    public async Task What_is_no_socket_for_a_back_end_is_left_alone()
    {
        using Socket network = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        await using TestHost host = Build((int)network.Handle, "web", options => options.SocketPath = _socket.Path);
        await host.StartAsync();

        Warnings.Should().BeEmpty();
        network.IsBound.Should().BeFalse();
        network.Bind(new System.Net.IPEndPoint(System.Net.IPAddress.Loopback, 0)); // it is still open
    }

    [Fact]
    public async Task The_same_path_under_another_name_fails_the_start_and_says_which_name()
    {
        int number = Listening();
        await using TestHost host = Build(number, "dsk", options => options.SocketPath = _passed.Path);

        (await host.Awaiting(one => one.StartAsync()).Should().ThrowAsync<OptionsValidationException>())
            .WithMessage($"Back-end 'disk': SocketPath '{_passed.Path}': the service manager listens there already*'dsk'*SocketName 'disk'*");
        using SafeFileHandle ours = new(number, ownsHandle: true);
    }

    [Theory]
    [InlineData(false, LogLevel.Information, "SocketPath, SocketMode")]
    [InlineData(true, LogLevel.Warning, "not Client")]
    public async Task What_it_overrides_is_said(bool client, LogLevel level, string said)
    {
        int number = Listening();
        await using TestHost host = Build(number, "disk", options =>
        {
            options.SocketPath = _socket.Path;
            options.Client = client;
            options.SocketMode = client ? null : UnixFileMode.UserRead;
        });
        await host.StartAsync();

        _log.Entries.Should().Contain(entry => entry.Level == level && entry.Text.Contains(said, StringComparison.Ordinal));
        await TestHost.UseAsync(_passed.Path);
        host.Backend().Backend.Name.Should().Be("disk", "measurements have no path to go by");
    }

    [Theory]
    [InlineData("disk")]
    [InlineData("web")]
    public async Task Programs_that_are_started_do_not_inherit_it(string name)
    {
        int number = Listening();
        using SafeFileHandle borrowed = new(number, ownsHandle: false);
        await using TestHost host = Build(number, name, options => options.SocketPath = _socket.Path, services => services.KeepSystemdSocket("web"));
        using InheritableDescriptor inheritable = new(borrowed);
        FlagsOf(number).Should().Be(0, "that is how it comes");

        await host.StartAsync();

        FlagsOf(number).Should().Be(CloseOnExec);
    }

    private IEnumerable<string> Warnings => _log.Entries.Where(entry => entry.Level >= LogLevel.Warning).Select(entry => entry.Text);

    private static int FlagsOf(int number)
    {
        string flags = File.ReadLines(string.Create(CultureInfo.InvariantCulture, $"/proc/self/fdinfo/{number}")).Single(line => line.StartsWith("flags:", StringComparison.Ordinal));
        return Convert.ToInt32(flags["flags:".Length..].Trim(), 8) & CloseOnExec;
    }

    private static Socket Connect(string path)
    {
        Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            socket.Connect(new UnixDomainSocketEndPoint(path));
            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    /// <summary>The number of a listening socket, which is nobody's at present.</summary>
    private int Listening() => Abandon(RawDescriptors.BlockingListener(_passed.Path));

    private (VhostUserConnection End, int Number) Accepted()
    {
        using Socket listening = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listening.Bind(new UnixDomainSocketEndPoint(_passed.Path));
        listening.Listen();
        Socket end = Connect(_passed.Path);
        Socket accepted = listening.Accept();
        return (VhostUserConnection.Adopt(new SafeFileHandle(Abandon(end.SafeHandle), ownsHandle: true)), Abandon(accepted.SafeHandle));
    }

    private static int Abandon(System.Runtime.InteropServices.SafeHandle handle)
    {
        int number = (int)handle.DangerousGetHandle();
        handle.SetHandleAsInvalid();
        return number;
    }

    private TestHost Build(int number, string name, Action<HostedBackendOptions> configure, Action<IServiceCollection>? more = null) => TestHost.Build(services =>
    {
        Dictionary<string, string?> environment = new(StringComparer.Ordinal) { ["LISTEN_PID"] = "42", ["LISTEN_FDS"] = "1", ["LISTEN_FDNAMES"] = name };
        services.AddSingleton<ILoggerFactory>(_log).AddSingleton(new SystemdSockets(environment.GetValueOrDefault, process: 42, first: number));
        services.AddVhostUserBackend("disk", configure, _ => TestHost.Disk());
        more?.Invoke(services);
    });
}
