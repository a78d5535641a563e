using System.Globalization;

namespace Vhost.Backend.Hosting;

/// <summary>What the service manager wants to hear, and where.</summary>
/// <param name="NotifySocket">NOTIFY_SOCKET: a path, or with <c>@</c> in front an abstract address; null: it wants to hear nothing.</param>
/// <param name="WatchdogInterval">WATCHDOG_USEC, when it is meant for this process: within this time it wants a sign of life. Null: it wants none.</param>
internal sealed record SystemdSettings(string? NotifySocket, TimeSpan? WatchdogInterval)
{
    internal static SystemdSettings FromEnvironment() => From(Environment.GetEnvironmentVariable, Environment.ProcessId);

    internal static SystemdSettings From(Func<string, string?> environment, int process)
    {
        string? socket = environment("NOTIFY_SOCKET") is { Length: > 1 } address && address[0] is '/' or '@' ? environment("NOTIFY_SOCKET") : null;
        bool isOurs = environment("WATCHDOG_PID") is not { } text || text == process.ToString(CultureInfo.InvariantCulture);
        bool wanted = isOurs && long.TryParse(environment("WATCHDOG_USEC"), NumberStyles.None, CultureInfo.InvariantCulture, out long microseconds) && microseconds is > 0 and < long.MaxValue / 10;
        return new SystemdSettings(socket, wanted ? TimeSpan.FromMicroseconds(long.Parse(environment("WATCHDOG_USEC")!, CultureInfo.InvariantCulture)) : null);
    }
}
