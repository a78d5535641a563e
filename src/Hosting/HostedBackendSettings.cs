using System.Globalization;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Options;

namespace Vhost.Backend.Hosting;

/// <summary>Reads <see cref="HostedBackendOptions"/> from configuration. Whatever is wrong is told with key, value and what is allowed.</summary>
internal sealed class HostedBackendSettings(string backend, IConfiguration section) : IConfigureNamedOptions<HostedBackendOptions>
{
    private const string Known = "SocketPath, Client, SocketMode, SocketGroup, SocketName, Dispatch, Processors, DrainTimeout";

    private readonly List<string> _complaints = [];

    public void Configure(HostedBackendOptions options)
    {
        // Options without a name are nobody's.
    }

    public void Configure(string? name, HostedBackendOptions options)
    {
        if (name != backend)
            return;
        _complaints.Clear();
        foreach (IConfigurationSection setting in section.GetChildren())
            Read(setting, options);
        if (_complaints.Count > 0)
            throw new OptionsValidationException(backend, typeof(HostedBackendOptions), _complaints);
    }

    private void Read(IConfigurationSection setting, HostedBackendOptions options)
    {
        switch (setting.Key.ToUpperInvariant())
        {
            case "SOCKETPATH":
                options.SocketPath = setting.Value;
                break;
            case "CLIENT":
                options.Client = Parsed(setting, bool.TryParse(setting.Value, out bool client), client, "true or false");
                break;
            case "SOCKETMODE":
                options.SocketMode = Parsed(setting, TryParseMode(setting.Value, out UnixFileMode mode), mode, "octal permissions like 660");
                break;
            case "SOCKETGROUP":
                options.SocketGroup = setting.Value;
                break;
            case "SOCKETNAME":
                options.SocketName = setting.Value;
                break;
            case "DISPATCH":
                bool named = Enum.TryParse(setting.Value, ignoreCase: true, out QueueDispatch dispatch) && Enum.IsDefined(dispatch);
                options.Dispatch = Parsed(setting, named, dispatch, $"one of {string.Join(", ", Enum.GetNames<QueueDispatch>())}");
                break;
            case "PROCESSORS":
                options.Processors = Parsed(setting, TryParseProcessors(TextOf(setting), out List<int> processors), processors, "processor numbers like 0,2-3, each from 0 to 1023");
                break;
            case "DRAINTIMEOUT":
                bool isTime = TimeSpan.TryParse(setting.Value, CultureInfo.InvariantCulture, out TimeSpan drain);
                options.DrainTimeout = Parsed(setting, isTime, drain, "a time like 00:00:05, more than 00:00:00 and at most 1.00:00:00");
                break;
            default:
                _complaints.Add($"{setting.Path} '{setting.Value}': no such setting; there are {Known}.");
                break;
        }
    }

    private T Parsed<T>(IConfigurationSection setting, bool parsed, T value, string allowed)
    {
        if (!parsed)
            _complaints.Add($"{setting.Path} '{TextOf(setting)}': must be {allowed}.");
        return value;
    }

    private static string TextOf(IConfigurationSection setting) => setting.Value ?? string.Join(',', setting.GetChildren().Select(child => child.Value));

    private static bool TryParseMode(string? text, out UnixFileMode mode)
    {
        mode = default;
        if (text is not { Length: > 0 and <= 4 } || text.Any(digit => digit is < '0' or > '7') || Convert.ToInt32(text, 8) is var bits && bits > 0x1FF)
            return false;
        mode = (UnixFileMode)bits;
        return true;
    }

    private static bool TryParseProcessors(string text, out List<int> processors)
    {
        processors = [];
        foreach (string part in text.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
            string[] ends = part.Split('-');
            if (ends.Length > 2 || !TryProcessor(ends[0], out int first) || !TryProcessor(ends[^1], out int last) || last < first)
                return false;
            processors.AddRange(Enumerable.Range(first, last - first + 1));
        }

        return true;
    }

    private static bool TryProcessor(string text, out int number) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out number) && number <= 1023;
}
