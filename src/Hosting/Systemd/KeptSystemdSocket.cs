namespace Vhost.Backend.Hosting;

/// <summary>A socket of the service manager that another part of the program uses.</summary>
/// <param name="Name">What the service manager calls it.</param>
internal sealed record KeptSystemdSocket(string Name);
