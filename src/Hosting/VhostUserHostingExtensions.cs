using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;

namespace Vhost.Backend.Hosting;

/// <summary>Registers back-ends with a host.</summary>
public static class VhostUserHostingExtensions
{
    /// <summary>Registers a back-end that the host starts and stops. Any number may be registered, each under a name of its own.</summary>
    /// <param name="services">The host's services.</param>
    /// <param name="name">Its name: of its options, of its health check, of the socket that systemd passes for it.</param>
    /// <param name="configure">Sets its options.</param>
    /// <param name="device">Makes the device when the host starts. The device belongs to the host, which disposes it.</param>
    /// <exception cref="ArgumentException">The name is empty, or was used before.</exception>
    public static IServiceCollection AddVhostUserBackend(
        this IServiceCollection services, string name, Action<HostedBackendOptions> configure, Func<IServiceProvider, IVhostUserDevice> device)
    {
        ArgumentNullException.ThrowIfNull(configure);
        Add(services, name, device);
        services.AddSingleton<IConfigureOptions<HostedBackendOptions>>(new ConfigureNamedOptions<HostedBackendOptions>(name, configure));
        return services;
    }

    /// <summary>Registers a back-end whose options come from configuration.</summary>
    /// <param name="services">The host's services.</param>
    /// <param name="name">Its name: of its options, of its health check, of the socket that systemd passes for it.</param>
    /// <param name="section">Its settings, named like the properties of <see cref="HostedBackendOptions"/>.</param>
    /// <param name="device">Makes the device when the host starts. The device belongs to the host, which disposes it.</param>
    /// <exception cref="ArgumentException">The name is empty, or was used before.</exception>
    public static IServiceCollection AddVhostUserBackend(
        this IServiceCollection services, string name, IConfiguration section, Func<IServiceProvider, IVhostUserDevice> device)
    {
        ArgumentNullException.ThrowIfNull(section);
        Add(services, name, device);
        services.AddSingleton<IConfigureOptions<HostedBackendOptions>>(new HostedBackendSettings(name, section));
        return services;
    }

    /// <summary>
    /// Adds a health check of a back-end: healthy while it waits for a front-end or serves one; unhealthy before the start and after the stop, when it cannot go on, and while it has a queue that broke,
    /// which is the guest's or the device's doing and ends when the guest starts the queue anew.
    /// </summary>
    /// <param name="checks">The host's health checks.</param>
    /// <param name="name">Name of the back-end, and of the check.</param>
    /// <param name="failureStatus">What an unhealthy back-end is reported as. Null: <see cref="HealthStatus.Unhealthy"/>.</param>
    /// <param name="tags">Tags of the check.</param>
    public static IHealthChecksBuilder AddVhostUserBackend(
        this IHealthChecksBuilder checks, string name, HealthStatus? failureStatus = null, IEnumerable<string>? tags = null)
    {
        ArgumentNullException.ThrowIfNull(checks);
        return checks.Add(new HealthCheckRegistration(
            name, services => new BackendHealthCheck(services.GetRequiredKeyedService<HostedVhostUserBackend>(name)), failureStatus, tags));
    }

    /// <summary>
    /// Tells systemd what becomes of the host, where it wants to know (Type=notify): that it is ready, that it stops, what its back-ends do, and, with WatchdogSec=, that it
    /// lives: as long as every back-end can go on, broken queues or not.
    /// </summary>
    /// <param name="services">The host's services.</param>
    public static IServiceCollection AddVhostUserSystemdNotifications(this IServiceCollection services)
    {
        ArgumentNullException.ThrowIfNull(services);
        services.TryAddSingleton(SystemdSettings.FromEnvironment());
        services.AddHostedService<SystemdNotifications>();
        return services;
    }

    /// <summary>
    /// Says that a socket of the service manager belongs to another part of the program. Of a Unix stream socket that no back-end has taken once the host has started the log warns otherwise.
    /// </summary>
    /// <param name="services">The host's services.</param>
    /// <param name="name">FileDescriptorName= of the socket unit; without that it is the unit's name.</param>
    public static IServiceCollection KeepSystemdSocket(this IServiceCollection services, string name)
    {
        ArgumentNullException.ThrowIfNull(services);
        ArgumentException.ThrowIfNullOrEmpty(name);
        return services.AddSingleton(new KeptSystemdSocket(name));
    }

    private static void Add(IServiceCollection services, string name, Func<IServiceProvider, IVhostUserDevice> device)
    {
        ArgumentNullException.ThrowIfNull(services);
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentNullException.ThrowIfNull(device);
        if (services.Any(service => service.ServiceType == typeof(HostedVhostUserBackend) && name.Equals(service.ServiceKey)))
            throw new ArgumentException($"There is a back-end '{name}' already.", nameof(name));
        services.AddOptions();
        services.TryAddSingleton(SystemdSockets.FromEnvironment());
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IHostedService, SystemdSocketsService>());
        services.TryAddSingleton<HostedQueueThreads>();
        services.TryAddSingleton(HostExit.OfProcess);
        services.AddKeyedSingleton(name, (provider, _) => new HostedVhostUserBackend(name, provider, device));
        services.AddSingleton<IHostedService>(provider => provider.GetRequiredKeyedService<HostedVhostUserBackend>(name));
        services.AddSingleton(new HostedBackendName(name));
        services.AddSingleton<IValidateOptions<HostedBackendOptions>>(new HostedBackendOptionsValidator(name));
    }
}
