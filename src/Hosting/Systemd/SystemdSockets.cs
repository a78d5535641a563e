using System.Globalization;
using Microsoft.Win32.SafeHandles;

namespace Vhost.Backend.Hosting;

/// <summary>Sockets that the service manager has opened for this process (sd_listen_fds): LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES. Each is given out once.</summary>
internal sealed class SystemdSockets
{
    private const int FirstDescriptor = 3;
    private const int MostDescriptors = 1024;

    private readonly Lock _gate = new();
    private readonly Dictionary<string, Queue<int>> _byName = new(StringComparer.Ordinal);

    internal SystemdSockets(Func<string, string?> environment, int process)
    {
        if (!TryParse(environment("LISTEN_PID"), out int forProcess) || forProcess != process || !TryParse(environment("LISTEN_FDS"), out int count))
            return;
        string[] names = environment("LISTEN_FDNAMES")?.Split(':') ?? [];
        for (int i = 0; i < Math.Min(count, MostDescriptors); i++)
        {
            string name = i < names.Length ? names[i] : "unknown"; // what systemd calls those without a name
            if (!_byName.TryGetValue(name, out Queue<int>? numbers))
                _byName[name] = numbers = new Queue<int>();
            numbers.Enqueue(FirstDescriptor + i);
        }
    }

    internal static SystemdSockets FromEnvironment() => new(Environment.GetEnvironmentVariable, Environment.ProcessId);

    /// <summary>The next socket of a name; null when there is none.</summary>
    /// <param name="name">FileDescriptorName= of the socket unit; without that it is the unit's name.</param>
    /// <returns>The caller's.</returns>
    internal SafeFileHandle? TryTake(string name)
    {
        lock (_gate)
        {
            bool found = _byName.TryGetValue(name, out Queue<int>? numbers) | _byName.TryGetValue($"{name}.socket", out Queue<int>? ofUnit);
            int number = 0;
            return found && ((numbers?.TryDequeue(out number) ?? false) || (ofUnit?.TryDequeue(out number) ?? false)) ? new SafeFileHandle(number, ownsHandle: true) : null;
        }
    }

    private static bool TryParse(string? text, out int number) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out number);
}
