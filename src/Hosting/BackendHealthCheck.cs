using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace Vhost.Backend.Hosting;

/// <summary>How a back-end is: see <see cref="VhostUserHostingExtensions.AddVhostUserBackend(Microsoft.Extensions.DependencyInjection.IHealthChecksBuilder, string, HealthStatus?, IEnumerable{string}?)"/>.</summary>
internal sealed class BackendHealthCheck(HostedVhostUserBackend backend) : IHealthCheck
{
    public Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken = default) =>
        Task.FromResult(Check(context.Registration.FailureStatus));

    private HealthCheckResult Check(HealthStatus failure)
    {
        HostedBackendState state = backend.State;
        Dictionary<string, object> data = new(StringComparer.Ordinal) { ["state"] = state.ToString(), ["where"] = backend.Where };
        switch (state)
        {
            case HostedBackendState.Waiting:
                return HealthCheckResult.Healthy($"waits for a front-end on {backend.Where}", data);
            case HostedBackendState.Connected:
                return CheckQueues(failure, data);
            case HostedBackendState.Failed:
                return new HealthCheckResult(failure, $"cannot go on: {backend.Failure!.Message}", backend.Failure, data);
            default:
                return new HealthCheckResult(failure, state == HostedBackendState.Stopped ? "is stopped" : "is not started", data: data);
        }
    }

    private HealthCheckResult CheckQueues(HealthStatus failure, Dictionary<string, object> data)
    {
        if (backend.Backend.GetStatus() is not { } status)
            return HealthCheckResult.Healthy("a front-end comes or goes", data);
        int running = status.Queues.Count(queue => queue.State == QueueState.Running);
        int[] broken = [.. status.Queues.Where(queue => queue.State == QueueState.Broken).Select(queue => queue.Index)];
        data["peer"] = status.Peer;
        data["running queues"] = running;
        data["broken queues"] = broken.Length;
        return broken.Length > 0
            ? new HealthCheckResult(failure, $"of {status.Peer}: broken queues {string.Join(", ", broken)}", data: data)
            : HealthCheckResult.Healthy(FormattableString.Invariant($"serves {status.Peer}, {running} queues running"), data);
    }
}
