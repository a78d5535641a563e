using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Options;

namespace Vhost.Backend.Hosting;

/// <summary>Reads <see cref="HostedBackendOptions"/> from configuration. Whatever is wrong is told with key, value and what is allowed.</summary>
internal sealed class HostedBackendSettings(string backend, IConfiguration section) : IConfigureNamedOptions<HostedBackendOptions>
{
    private static readonly Dictionary<string, Action<SettingReader, HostedBackendOptions>> _readers = new(StringComparer.OrdinalIgnoreCase)
    {
        ["SocketPath"] = static (read, options) => options.SocketPath = read.Text,
        ["Client"] = static (read, options) => options.Client = read.Boolean(),
        ["Retry"] = static (read, options) => options.Retry = Retry(read, options.Retry),
        ["SocketMode"] = static (read, options) => options.SocketMode = read.Mode(),
        ["SocketGroup"] = static (read, options) => options.SocketGroup = read.Text,
        ["SocketName"] = static (read, options) => options.SocketName = read.Text,
        ["Dispatch"] = static (read, options) => options.Dispatch = read.OneOf<QueueDispatch>(),
        ["SharedThreads"] = static (read, options) => options.SharedThreads = read.Number(1, 1024),
        ["PollSharedThreads"] = static (read, options) => options.PollSharedThreads = read.Boolean(),
        ["Processors"] = static (read, options) => options.Processors = read.Processors(),
        ["DrainTimeout"] = static (read, options) => options.DrainTimeout = read.Time(orInfinite: false),
        ["RequireSealedMemory"] = static (read, options) => options.RequireSealedMemory = read.Boolean(),
        ["MaxMemorySlots"] = static (read, options) => options.MaxMemorySlots = read.Number(1, VhostUserBackendOptions.MemorySlotLimit),
        ["IdleTimeout"] = static (read, options) => options.IdleTimeout = read.Time(orInfinite: true),
        ["FirstMessageTimeout"] = static (read, options) => options.FirstMessageTimeout = read.Time(orInfinite: true),
        ["MessageTimeout"] = static (read, options) => options.MessageTimeout = read.Time(orInfinite: true),
        ["SendTimeout"] = static (read, options) => options.SendTimeout = read.Time(orInfinite: true),
        ["ViolationPause"] = static (read, options) => options.ViolationPause = read.Time(orInfinite: false, range: "00:00:00 to 01:00:00"),
    };

    private static readonly Dictionary<string, Func<SettingReader, ConnectRetry, ConnectRetry>> _retryReaders = new(StringComparer.OrdinalIgnoreCase)
    {
        ["Delay"] = static (read, retry) => retry with { Delay = read.Time(orInfinite: false) },
        ["LongestDelay"] = static (read, retry) => retry with { LongestDelay = read.Time(orInfinite: false) },
        ["Limit"] = static (read, retry) => retry with { Limit = read.Time(orInfinite: true) },
    };

    /// <summary>All settings, by their names.</summary>
    internal static IReadOnlyList<string> Keys => [.. _readers.Keys, .. _retryReaders.Keys.Select(static key => $"Retry:{key}")];

    public void Configure(HostedBackendOptions options)
    {
        // Options without a name are nobody's.
    }

    public void Configure(string? name, HostedBackendOptions options)
    {
        if (name != backend)
            return;
        List<string> complaints = [];
        foreach (IConfigurationSection setting in section.GetChildren())
        {
            SettingReader reader = new(setting, complaints);
            if (reader.IsEmpty && _readers.ContainsKey(setting.Key))
                continue; // takes back what a source of configuration before has said
            if (_readers.TryGetValue(setting.Key, out Action<SettingReader, HostedBackendOptions>? read))
                read(reader, options);
            else
                reader.Unknown(_readers.Keys);
        }

        if (complaints.Count > 0)
            throw new OptionsValidationException(backend, typeof(HostedBackendOptions), complaints);
    }

    /// <summary>false, true, or what is set below it.</summary>
    private static ConnectRetry? Retry(SettingReader read, ConnectRetry? before)
    {
        if (read.Children is not { Count: > 0 } children)
            return read.Boolean() ? before ?? new ConnectRetry() : null;
        ConnectRetry retry = before ?? new ConnectRetry();
        foreach (SettingReader child in children)
        {
            if (_retryReaders.TryGetValue(child.Key, out Func<SettingReader, ConnectRetry, ConnectRetry>? set))
                retry = set(child, retry);
            else
                child.Unknown(_retryReaders.Keys);
        }

        return retry;
    }
}
