using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Vhost.Protocol;

namespace Vhost.Backend.Hosting;

/// <summary>
/// Looks after what the service manager has passed: before anything starts it is kept from programs that are started, and what no back-end has taken when everything has started is warned of: front-ends would
/// connect to it and wait. It is not closed: whether another part of the program has taken it nobody can see, and its number may name another file by now.
/// </summary>
internal sealed class SystemdSocketsService(SystemdSockets sockets, IServiceProvider services) : IHostedLifecycleService
{
    private readonly ILogger _logger = (services.GetService<ILoggerFactory>() ?? NullLoggerFactory.Instance).CreateLogger("Vhost.Backend.Hosting");
    private readonly HashSet<string> _kept = [.. services.GetServices<KeptSystemdSocket>().Select(static one => one.Name)];

    public Task StartingAsync(CancellationToken cancellationToken)
    {
        sockets.SetCloseOnExec();
        return Task.CompletedTask;
    }

    public Task StartedAsync(CancellationToken cancellationToken)
    {
        foreach (PassedSocket left in sockets.TakeLeft())
        {
            if (_kept.Contains(left.Name))
                continue;
            if (left.Kind == InheritedSocketKind.None)
            {
                HostingLog.NoSocketOfOurs(_logger, left.ToString()); // no back-end could use it: another part of the program may
                continue;
            }

            HostingLog.SocketLeft(_logger, left.ToString());
        }

        return Task.CompletedTask;
    }

    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StoppingAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StoppedAsync(CancellationToken cancellationToken) => Task.CompletedTask;
}
