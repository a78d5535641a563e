using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Tool;

/// <summary>Options that check their value while the command line is read, so that a wrong one costs nothing.</summary>
internal static class ToolOptions
{
    private const int MaxProcessor = 1023;

    internal static Option<string> Socket() => new("--socket")
    {
        Description = "Socket of the back-end.",
        HelpName = "PATH",
        Required = true,
        Validators = { result => RejectEmpty(result, "--socket") },
    };

    internal static Option<bool> Json() => new("--json") { Description = "Print one JSON object on standard output instead of text." };

    internal static Option<string> Path(string name, string description, bool required = false)
    {
        Option<string> option = new(name) { Description = description, HelpName = "PATH", Required = required };
        option.Validators.Add(result => RejectEmpty(result, name));
        return option;
    }

    /// <summary>As <see cref="Path"/>, but may be given more than once.</summary>
    internal static Option<string[]> Paths(string name, string description)
    {
        Option<string[]> option = new(name) { Description = description, HelpName = "PATH", Arity = ArgumentArity.OneOrMore };
        option.Validators.Add(result => RejectEmpty(result, name));
        return option;
    }

    internal static Option<ulong?> Size(string name, string description, bool required = false) => new(name)
    {
        Description = $"{description} ({SizeText.Form})",
        HelpName = "SIZE",
        Required = required,
        CustomParser = argument =>
        {
            if (SizeText.TryParse(argument.Tokens[0].Value, out ulong bytes))
                return bytes;
            argument.AddError($"{name} '{argument.Tokens[0].Value}': must be {SizeText.Form}.");
            return null;
        },
    };

    internal static Option<int> Number(string name, string description, int lowest, int highest, int standard) => new(name)
    {
        Description = string.Create(CultureInfo.InvariantCulture, $"{description} ({lowest} to {highest})"),
        HelpName = "N",
        DefaultValueFactory = _ => standard,
        CustomParser = argument => ParseNumber(argument, name, lowest, highest),
    };

    /// <summary>A time in seconds, which may have decimals.</summary>
    internal static Option<decimal> Seconds(string name, string description, TimeSpan shortest, TimeSpan longest, decimal standard) => new(name)
    {
        Description = string.Create(CultureInfo.InvariantCulture, $"{description} ({shortest.TotalSeconds} to {longest.TotalSeconds})"),
        HelpName = "N",
        DefaultValueFactory = _ => standard,
        CustomParser = argument =>
        {
            string text = argument.Tokens[0].Value;
            if (decimal.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out decimal value) && value >= (decimal)shortest.TotalSeconds && value <= (decimal)longest.TotalSeconds)
                return value;
            argument.AddError(string.Create(CultureInfo.InvariantCulture, $"{name} '{text}': must be a number of seconds from {shortest.TotalSeconds} to {longest.TotalSeconds}."));
            return standard;
        },
    };

    /// <summary>As <see cref="Number"/>, but null when absent.</summary>
    internal static Option<int?> OptionalNumber(string name, string description, int lowest, int highest) => new(name)
    {
        Description = string.Create(CultureInfo.InvariantCulture, $"{description} ({lowest} to {highest})"),
        HelpName = "N",
        CustomParser = argument => ParseNumber(argument, name, lowest, highest),
    };

    /// <summary>A size that must be a power of two in a range, as ring and block sizes are.</summary>
    internal static Option<int> PowerOfTwo(string name, string description, int lowest, int highest, int standard) => new(name)
    {
        Description = string.Create(CultureInfo.InvariantCulture, $"{description} (a power of two from {lowest} to {highest})"),
        HelpName = "N",
        DefaultValueFactory = _ => standard,
        CustomParser = argument =>
        {
            string text = argument.Tokens[0].Value;
            if (SizeText.TryParse(text, out ulong value) && value >= (ulong)lowest && value <= (ulong)highest && ulong.IsPow2(value))
                return (int)value;
            argument.AddError(string.Create(CultureInfo.InvariantCulture, $"{name} '{text}': must be a power of two from {lowest} to {highest}."));
            return 0;
        },
    };

    internal static Option<int[]> Processors(string description) => new("--cpu", "--cpus")
    {
        Description = $"{description} (for example 1 or 0,2-3)",
        HelpName = "LIST",
        DefaultValueFactory = _ => [],
        CustomParser = argument =>
        {
            string text = argument.Tokens[0].Value;
            if (!TryParseProcessors(text, out int[] processors))
                argument.AddError($"--cpu '{text}': must be processor numbers like 1 or 0,2-3.");
            else if (Libc.AllowedProcessors() is { Length: > 0 } allowed && processors.Except(allowed).Any())
                argument.AddError($"--cpu '{text}': this process may only run on {string.Join(',', allowed)}.");
            else
                return processors;
            return [];
        },
    };

    internal static bool TryParseProcessors(string text, out int[] processors)
    {
        List<int> found = new();
        processors = [];
        foreach (string part in text.Split(','))
        {
            string[] ends = part.Split('-');
            if (ends.Length > 2 || !TryProcessor(ends[0], out int first) || !TryProcessor(ends[^1], out int last) || last < first)
                return false;
            found.AddRange(Enumerable.Range(first, last - first + 1));
        }

        processors = [.. found];
        return true;
    }

    private static bool TryProcessor(string text, out int number) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out number) && number <= MaxProcessor;

    private static int ParseNumber(ArgumentResult argument, string name, int lowest, int highest)
    {
        string text = argument.Tokens[0].Value;
        if (int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int value) && value >= lowest && value <= highest)
            return value;
        argument.AddError(string.Create(CultureInfo.InvariantCulture, $"{name} '{text}': must be a number from {lowest} to {highest}."));
        return 0;
    }

    private static void RejectEmpty(OptionResult result, string name)
    {
        if (result.Tokens.Any(token => token.Value.Length == 0))
            result.AddError($"{name}: must name a path.");
    }

    /// <summary>An option with a few words for values. Absent it has the enumeration's value 0, unless whoever reads it says otherwise.</summary>
    internal static Option<T> Words<T>(string name, string description, params (string Word, T Value)[] words)
        where T : struct, Enum
    {
        string all = string.Join('|', words.Select(word => word.Word));
        return new Option<T>(name)
        {
            Description = description,
            HelpName = all,
            CustomParser = argument =>
            {
                string text = argument.Tokens[0].Value;
                foreach ((string word, T value) in words)
                {
                    if (word == text)
                        return value;
                }

                argument.AddError($"{name} '{text}': must be one of {all}.");
                return words[0].Value;
            },
        };
    }
}
