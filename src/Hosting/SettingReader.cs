using System.Globalization;
using Microsoft.Extensions.Configuration;

namespace Vhost.Backend.Hosting;

/// <summary>Reads one setting as what it is to be. One that is not leaves the default of its type and a complaint with key, value and what is allowed.</summary>
internal sealed class SettingReader(IConfigurationSection setting, List<string> complaints)
{
    internal string Key => setting.Key;

    internal string? Text => setting.Value;

    /// <summary>Whether nothing is said.</summary>
    internal bool IsEmpty => setting.Value is { Length: 0 } && !setting.GetChildren().Any();

    /// <summary>What is set below this one.</summary>
    internal IReadOnlyList<SettingReader> Children => [.. setting.GetChildren().Select(child => new SettingReader(child, complaints))];

    internal bool Boolean() => Parsed(bool.TryParse(setting.Value, out bool value), value, "true or false");

    internal int Number(int least, int most) => Parsed(
        int.TryParse(setting.Value, NumberStyles.None, CultureInfo.InvariantCulture, out int value) && value >= least && value <= most,
        value,
        string.Create(CultureInfo.InvariantCulture, $"a number from {least} to {most}"));

    internal TimeSpan Time(bool orInfinite, string range = "more than 00:00:00 and at most 1.00:00:00")
    {
        if (orInfinite && string.Equals(setting.Value, "infinite", StringComparison.OrdinalIgnoreCase))
            return Timeout.InfiniteTimeSpan;
        bool isTime = TimeSpan.TryParse(setting.Value, CultureInfo.InvariantCulture, out TimeSpan value);
        return Parsed(isTime, value, $"a time like 00:00:05, {range}{(orInfinite ? ", or infinite" : "")}");
    }

    internal T OneOf<T>()
        where T : struct, Enum =>
        Parsed(Enum.TryParse(setting.Value, ignoreCase: true, out T value) && Enum.IsDefined(value), value, $"one of {string.Join(", ", Enum.GetNames<T>())}");

    internal UnixFileMode Mode() => Parsed(TryParseMode(setting.Value, out UnixFileMode mode), mode, "octal permissions like 660");

    internal List<int> Processors()
    {
        string text = setting.Value ?? string.Join(',', setting.GetChildren().Select(static child => child.Value));
        return Parsed(TryParseProcessors(text, out List<int> processors), processors, "processor numbers like 0,2-3, each from 0 to 1023", text);
    }

    internal void Unknown(IEnumerable<string> known) => complaints.Add($"{setting.Path} '{setting.Value}': no such setting; there are {string.Join(", ", known)}.");

    private T Parsed<T>(bool parsed, T value, string allowed, string? text = null)
    {
        if (!parsed)
            complaints.Add($"{setting.Path} '{text ?? setting.Value}': must be {allowed}.");
        return value;
    }

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
