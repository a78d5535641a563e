using System.Xml.Linq;

namespace Vhost.Conformance.Tests.Mutants;

/// <summary>All mutants that a suite is measured by.</summary>
public static class Mutants
{
    /// <summary>The chapters, in the order of the suite.</summary>
    public static IReadOnlyList<string> Chapters { get; } =
    [
        "negotiation",
        "framing",
        "descriptors",
        "memory",
        "ring state",
        "split rings",
        "packed rings",
        "notifications",
        "configuration space",
        "status and reset",
        "acknowledgements",
        "back-end channel",
        "dirty log",
        "in-flight recovery",
        "IOTLB",
        "device state",
        "hostile control",
        "hostile rings",
        "block",
    ];

    /// <summary>One for each sin.</summary>
    public static IReadOnlyList<Mutant> All { get; } = Load();

    private static Mutant[] Load()
    {
        XDocument text = XDocument.Load(Path.Combine(AppContext.BaseDirectory, $"{typeof(Mutants).Assembly.GetName().Name}.xml"));
        Dictionary<string, string> rules = text.Descendants("member").ToDictionary(static m => (string)m.Attribute("name")!, static m => m.Element("summary")?.Value ?? "", StringComparer.Ordinal);
        return [.. Enum.GetValues<Sin>().Where(static sin => sin != Sin.None).Select(sin => new Mutant(sin, ChapterOf(sin), RuleOf(sin, rules)))];
    }

    private static string ChapterOf(Sin sin) => Chapters[((int)sin / 100) - 1];

    private static string RuleOf(Sin sin, Dictionary<string, string> rules) => rules.GetValueOrDefault($"F:{typeof(Sin).FullName}.{sin}", "");
}
