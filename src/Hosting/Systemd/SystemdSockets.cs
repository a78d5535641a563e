using System.Globalization;
using Microsoft.Win32.SafeHandles;

namespace Vhost.Backend.Hosting;

/// <summary>Sockets that the service manager has opened for this process (sd_listen_fds): LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES. Each is given out once.</summary>
internal sealed class SystemdSockets
{
    private const int FirstDescriptor = 3;
    private const int MostDescriptors = 1024;

    /// <summary>What systemd calls a connection that a socket unit with Accept=yes has accepted: always before version 257, later where FileDescriptorName= is not set.</summary>
    private const string Connection = "connection";

    /// <summary>What systemd calls those without a name.</summary>
    private const string Unknown = "unknown";

    private readonly Lock _gate = new();
    private readonly List<PassedSocket> _left = [];

    /// <summary>The only one that was passed, where its name is not one that somebody chose.</summary>
    private readonly PassedSocket? _nameless;

    /// <param name="environment">The process's.</param>
    /// <param name="process">Its number.</param>
    /// <param name="first">Number of the first descriptor; another one in tests.</param>
    internal SystemdSockets(Func<string, string?> environment, int process, int first = FirstDescriptor)
    {
        if (!TryParse(environment("LISTEN_PID"), out int forProcess) || forProcess != process || !TryParse(environment("LISTEN_FDS"), out int count))
            return;
        string[] names = environment("LISTEN_FDNAMES")?.Split(':') ?? [];
        for (int i = 0; i < Math.Min(count, MostDescriptors); i++)
            _left.Add(new PassedSocket(first + i, i < names.Length ? names[i] : Unknown));
        if (_left is [var only] && only.Name == (names.Length == 0 ? Unknown : Connection))
            _nameless = only;
    }

    internal static SystemdSockets FromEnvironment() => new(Environment.GetEnvironmentVariable, Environment.ProcessId);

    /// <summary>The next socket of a name; null when there is none.</summary>
    /// <param name="name">FileDescriptorName= of the socket unit; without that it is the unit's name.</param>
    /// <param name="isOnlyBackend">Nobody else could be meant by a socket without a name, if it is the only one.</param>
    /// <returns>The caller's.</returns>
    internal SafeFileHandle? TryTake(string name, bool isOnlyBackend = false)
    {
        lock (_gate)
        {
            PassedSocket? found = _left.Find(one => one.Name == name) ?? _left.Find(one => one.Name == $"{name}.socket") ?? (isOnlyBackend ? _nameless : null);
            return found is not null && _left.Remove(found) ? found.Take() : null;
        }
    }

    /// <summary>One that nobody has taken and that listens on a path; null when there is none.</summary>
    internal PassedSocket? LeftAt(string path)
    {
        string full = Path.GetFullPath(path);
        lock (_gate)
            return _left.Find(one => one.Path == full);
    }

    /// <summary>Keeps all of them from programs that this one starts, as sd_listen_fds does.</summary>
    internal void SetCloseOnExec()
    {
        lock (_gate)
            _left.ForEach(static one => one.SetCloseOnExec());
    }

    /// <summary>Those that nobody has taken; from now on they are the caller's.</summary>
    internal IReadOnlyList<PassedSocket> TakeLeft()
    {
        lock (_gate)
        {
            PassedSocket[] left = [.. _left];
            _left.Clear();
            return left;
        }
    }

    private static bool TryParse(string? text, out int number) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out number);
}
