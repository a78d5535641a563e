namespace Vhost.Backend.Hosting;

/// <summary>Names of all back-ends of a host, for whoever looks after them together.</summary>
/// <param name="Name">One of them.</param>
internal sealed record HostedBackendName(string Name);
