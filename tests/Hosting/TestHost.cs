using System.Runtime.CompilerServices;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Hosting;
using Vhost.Backend;
using Vhost.Backend.Hosting;
using Vhost.Frontend;
using Vhost.Tests.Support;

namespace Vhost.Hosting.Tests;

/// <summary>A host with back-ends, and clients of these.</summary>
internal sealed class TestHost : IAsyncDisposable
{
    private readonly IHost _host;
    private readonly StrongBox<int> _exitCode;

    private bool _disposed;

    private TestHost(IHost host, StrongBox<int> exitCode) => (_host, _exitCode) = (host, exitCode);

    internal IServiceProvider Services => _host.Services;

    internal CancellationToken Stopping => Services.GetRequiredService<IHostApplicationLifetime>().ApplicationStopping;

    /// <summary>What a program with this host would end with.</summary>
    internal int ExitCode => Volatile.Read(ref _exitCode.Value);

    internal static TestHost Build(Action<IServiceCollection> register)
    {
        HostApplicationBuilder builder = Host.CreateEmptyApplicationBuilder(new HostApplicationBuilderSettings { DisableDefaults = true });
        StrongBox<int> exitCode = new();
        builder.Services.AddSingleton(new HostExit(code => Volatile.Write(ref exitCode.Value, code))); // this process's own is that of the test run
        register(builder.Services);
        return new TestHost(builder.Build(), exitCode);
    }

    /// <summary>A host with one disk that is served on a path.</summary>
    internal static async Task<TestHost> StartDiskAsync(string path)
    {
        TestHost host = Build(services => services.AddVhostUserBackend("disk", options => options.SocketPath = path, _ => Disk()));
        await host.StartAsync();
        return host;
    }

    internal static BlockDevice Disk() => new(new MemoryStorage(1 << 20));

    internal static IConfiguration Settings(params (string Key, string? Value)[] settings) =>
        new ConfigurationBuilder().AddInMemoryCollection(settings.DistinctBy(one => one.Key, StringComparer.OrdinalIgnoreCase).Select(one => KeyValuePair.Create($"VhostUser:disk:{one.Key}", one.Value))).Build().GetSection("VhostUser:disk");

    internal static async Task UseAsync(string path)
    {
        await using BlockClient disk = await BlockClient.ConnectAsync(path).InTime();
        byte[] data = [.. Enumerable.Range(0, 512).Select(i => (byte)i)];
        byte[] copy = new byte[512];
        await disk.WriteAsync(4096, data).InTime();
        await disk.ReadAsync(4096, copy).InTime();
        copy.Should().Equal(data);
    }

    internal HostedVhostUserBackend Backend(string name = "disk") => Services.GetRequiredKeyedService<HostedVhostUserBackend>(name);

    internal Task StartAsync() => _host.StartAsync().InTime();

    internal Task StopAsync(CancellationToken hurry = default) => _host.StopAsync(hurry).InTime();

    /// <summary>As a host does whose start failed, or a program that ends without a stop.</summary>
    internal Task DisposeWithoutStoppingAsync()
    {
        _disposed = true;
        return ((IAsyncDisposable)_host).DisposeAsync().InTime();
    }

    internal async Task<(HealthStatus Status, string? Text)> HealthAsync()
    {
        HealthReport report = await Services.GetRequiredService<HealthCheckService>().CheckHealthAsync().InTime();
        return (report.Status, report.Entries["disk"].Description);
    }

    public async ValueTask DisposeAsync()
    {
        if (_disposed)
            return;
        _disposed = true;
        await StopAsync();
        await ((IAsyncDisposable)_host).DisposeAsync().InTime();
    }
}
