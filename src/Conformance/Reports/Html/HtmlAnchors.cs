namespace Vhost.Conformance;

/// <summary>The names by which addresses find cases and chapters: those that they have, so that an address means the same in the report of the next run.</summary>
internal sealed class HtmlAnchors
{
    private readonly Dictionary<object, string> _names = new(ReferenceEqualityComparer.Instance);
    private readonly Dictionary<string, string> _chapters = new(StringComparer.Ordinal);
    private readonly HashSet<string> _taken = new(StringComparer.Ordinal) { "findings", "chapters", "cases", "surroundings" };

    internal HtmlAnchors(ConformanceReport report)
    {
        foreach (ConformanceResult result in report.Results)
            _names.TryAdd(result, Take(result.Case.Id));
        foreach (IGrouping<string, ConformanceResult> chapter in report.Chapters())
            _chapters.Add(chapter.Key, Take(chapter.Key));
    }

    internal string Name(ConformanceResult result) => _names[result];

    internal string Name(string chapter) => _chapters[chapter];

    internal string Reference(ConformanceResult result) => Uri.EscapeDataString(Name(result));

    internal string Reference(string chapter) => Uri.EscapeDataString(Name(chapter));

    /// <summary>The name in letters that an address and an attribute hold as they are, with a number behind it if another one has it.</summary>
    private string Take(string wanted)
    {
        string name = string.Concat(wanted.Select(letter => char.IsAsciiLetterOrDigit(letter) || letter is '-' or '_' or '.' or '/' ? letter : '-'));
        string free = name;
        for (int number = 2; free.Length == 0 || !_taken.Add(free); number++)
            free = $"{name}-{number}";
        return free;
    }
}
