using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Hosting.Tests;

/// <summary>The example as a program: what it serves, and with which exit code it ends.</summary>
public sealed class ExampleTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("vu-hosted-").FullName;
    private readonly TempSocket _socket = new();

    private string Image => Path.Combine(_folder, "disk.img");

    public ExampleTests() => File.WriteAllBytes(Image, new byte[1 << 20]);

    public void Dispose()
    {
        _socket.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public async Task It_has_as_many_queues_as_it_was_told_to()
    {
        await using ChildProcess example = ChildProcess.Start(
            "env", "--default-signal", "dotnet", HostedExample.Assembly, $"--Image={Image}", "--Queues=4", $"--VhostUser:disk:SocketPath={_socket.Path}");
        BlockClientOptions options = new() { Queues = 8, Connect = new VhostUserConnectOptions { RetryFor = Eventually.Deadline } };
        await using (BlockClient disk = await BlockClient.ConnectAsync(_socket.Path, options).InTime())
            disk.QueueCount.Should().Be(4);

        (await example.TerminateAsync()).ExitCode.Should().Be(0, "a stop that was asked for is no failure");
    }

    [Fact]
    public async Task More_queues_than_a_disk_can_have_fail_the_start_with_the_range()
    {
        ChildProcess.Outcome outcome = await ChildProcess.RunAsync(
            "dotnet", HostedExample.Assembly, $"--Image={Image}", "--Queues=257", $"--VhostUser:disk:SocketPath={_socket.Path}");

        outcome.ExitCode.Should().NotBe(0);
        outcome.Errors.Should().Contain(line => line.Contains("Queues 257: must be 1 to 256", StringComparison.Ordinal));
    }

    /// <summary>systemd's Restart=on-failure, and every other supervisor, looks at nothing but this.</summary>
    [Fact]
    public async Task A_back_end_that_cannot_go_on_is_a_failure_to_whoever_started_the_program()
    {
        string program = HostedExample.CopyTo(_folder, $$"""{ "VhostUser": { "disk": { "SocketPath": "{{_socket.Path}}", "Client": true, "Retry": false } } }"""); // where nobody listens

        ChildProcess.Outcome outcome = await ChildProcess.RunAsync("dotnet", program, $"--Image={Image}");

        outcome.ExitCode.Should().Be(1);
        outcome.OutputText.Should().Contain("cannot go on").And.Contain(_socket.Path);
    }
}
