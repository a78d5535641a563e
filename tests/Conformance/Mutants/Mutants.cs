using System.Xml.Linq;

namespace Vhost.Conformance.Tests.Mutants;

/// <summary>All mutants that a suite is measured by.</summary>
public static class Mutants
{
    /// <summary>The chapters of the suite that concern the hand-written device, in the order of <see cref="Sin"/>.</summary>
    public static IReadOnlyList<string> Chapters { get; } =
    [
        "negotiation",
        "framing",
        "descriptors",
        "memory",
        "ring-states",
        "split-rings",
        "packed-rings",
        "notifications",
        "configuration",
        "status",
        "acknowledgements",
        "backend-channel",
        "dirty-log",
        "inflight",
        "iotlb",
        "device-state",
        "hostile-control",
        "hostile-rings",
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
