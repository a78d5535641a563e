using System.Collections.Concurrent;
using Vhost.Backend.Hosting;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Hosting.Tests;

/// <summary>How back-ends of a host end when nobody has asked them to stop, and what those see who look.</summary>
public sealed class HostedLifetimeTests : IDisposable
{
    private readonly TempSocket _socket = new();

    public void Dispose() => _socket.Dispose();

    [Fact]
    public async Task A_start_that_fails_leaves_nothing_behind_of_what_had_started()
    {
        using TempSocket taken = new();
        await using VhostUserListener other = VhostUserListener.Listen(taken.Path);
        for (int round = 0; round < 20; round++)
        {
            KeepingDevice first = new();
            KeepingDevice second = new();
            TestHost host = TestHost.Build(services =>
            {
                services.AddVhostUserBackend("disk", options => options.SocketPath = _socket.Path, _ => first);
                services.AddVhostUserBackend("second", options => options.SocketPath = taken.Path, _ => second);
            });
            await host.Awaiting(one => one.StartAsync()).Should().ThrowAsync<IOException>();

            await host.DisposeWithoutStoppingAsync();

            (_socket.Exists, first.IsDisposed, second.IsDisposed).Should().Be((false, true, true), "round {0}", round);
        }
    }

    [Fact]
    public async Task Disposing_without_a_stop_finishes_what_is_under_way()
    {
        KeepingDevice device = new();
        TestHost host = TestHost.Build(services => services.AddVhostUserBackend("disk", options => options.SocketPath = _socket.Path, _ => device));
        await host.StartAsync();
        HostedVhostUserBackend backend = host.Backend();
        await using BlockClient disk = await BlockClient.ConnectAsync(_socket.Path).InTime();
        Task reading = disk.ReadAsync(0, new byte[512]).AsTask();
        await Eventually.TrueAsync(() => !device.Kept.IsEmpty);

        Task disposing = host.DisposeWithoutStoppingAsync();
        await Eventually.TrueAsync(() => backend.State == HostedBackendState.Stopped);
        (disposing.IsCompleted, device.IsDisposed).Should().Be((false, false), "a request is under way");
        device.Answer();

        await disposing.InTime();
        await reading.InTime();
        (_socket.Exists, device.IsDisposed).Should().Be((false, true));
    }

    [Fact]
    public async Task What_was_left_behind_in_a_hurry_disposes_its_device_at_its_end()
    {
        KeepingDevice device = new();
        TestHost host = TestHost.Build(services => services.AddVhostUserBackend("disk", options => options.SocketPath = _socket.Path, _ => device));
        await host.StartAsync();
        await using BlockClient disk = await BlockClient.ConnectAsync(_socket.Path).InTime();
        Task reading = disk.ReadAsync(0, new byte[512]).AsTask();
        await Eventually.TrueAsync(() => !device.Kept.IsEmpty);
        using CancellationTokenSource hurry = new();
        await hurry.CancelAsync();
        await host.Backend().StopAsync(hurry.Token).InTime();

        await host.DisposeWithoutStoppingAsync();
        device.IsDisposed.Should().BeFalse("it is still used");
        device.Answer();

        await reading.InTime();
        await Eventually.TrueAsync(() => device.IsDisposed);
    }

    [Fact]
    public async Task A_client_that_tries_once_ends_with_its_front_end_and_the_host_with_it()
    {
        await using VhostUserListener listener = VhostUserListener.Listen(_socket.Path);
        await using TestHost host = TestHost.Build(services => services.AddVhostUserBackend(
            "disk", TestHost.Settings(("SocketPath", _socket.Path), ("Client", "true"), ("Retry", "false")), _ => TestHost.Disk()));
        await host.StartAsync();
        await using (BlockClient disk = await BlockClient.AcceptAsync(listener).InTime())
            await disk.WriteAsync(0, new byte[512]).InTime();

        await Eventually.TrueAsync(() => host.Stopping.IsCancellationRequested);
        (host.Backend().State, host.ExitCode).Should().Be((HostedBackendState.Stopped, 0), "that is the end that it was started for");
        host.Backend().Failure.Should().BeNull();
    }

    [Fact]
    public async Task Whoever_hears_of_a_change_sees_it()
    {
        ConcurrentQueue<HostedBackendState> seen = new();
        await using TestHost host = await TestHost.StartDiskAsync(_socket.Path);
        HostedVhostUserBackend backend = host.Backend();
        backend.Changed += (_, _) => seen.Enqueue(backend.State);

        await TestHost.UseAsync(_socket.Path);

        await Eventually.TrueAsync(() => seen.Count == 2);
        seen.Should().Equal(HostedBackendState.Connected, HostedBackendState.Waiting);
    }

    /// <summary>The host is told of the end after the handlers: it must not go on without its back-end.</summary>
    [Fact]
    public async Task A_handler_that_throws_keeps_neither_the_others_nor_the_host_from_what_happened()
    {
        int told = 0;
        await using VhostUserListener listener = VhostUserListener.Listen(_socket.Path);
        await using TestHost host = TestHost.Build(services => services.AddVhostUserBackend(
            "disk", TestHost.Settings(("SocketPath", _socket.Path), ("Client", "true"), ("Retry", "false")), _ => TestHost.Disk()));
        await host.StartAsync();
        host.Backend().Changed += static (_, _) => throw new InvalidOperationException("for a test");
        host.Backend().Changed += (_, _) => Interlocked.Increment(ref told);
        await using (BlockClient disk = await BlockClient.AcceptAsync(listener).InTime())
            await disk.WriteAsync(0, new byte[512]).InTime();

        await Eventually.TrueAsync(() => host.Stopping.IsCancellationRequested);
        told.Should().BeGreaterThanOrEqualTo(2);
    }
}
