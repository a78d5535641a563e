using System.Xml.Linq;

namespace Vhost.Conformance.Tests;

/// <summary>All mutants that the suite for front-ends is measured by.</summary>
public static class FrontendMutants
{
    /// <summary>The chapters, in the order of the suite.</summary>
    public static IReadOnlyList<string> Chapters { get; } = ["conduct", "offers", "refusals", "replies", "areas", "channel", "loss", "completions"];

    /// <summary>One for each sin.</summary>
    public static IReadOnlyList<FrontendMutant> All { get; } = Load();

    private static FrontendMutant[] Load()
    {
        XDocument text = XDocument.Load(Path.Combine(AppContext.BaseDirectory, $"{typeof(FrontendMutants).Assembly.GetName().Name}.xml"));
        Dictionary<string, string> rules = text.Descendants("member").ToDictionary(static m => (string)m.Attribute("name")!, static m => m.Element("summary")?.Value ?? "", StringComparer.Ordinal);
        return [.. Enum.GetValues<FrontendSin>().Where(static sin => sin != FrontendSin.None).Select(sin => new FrontendMutant(sin, ChapterOf(sin), RuleOf(sin, rules)))];
    }

    private static string ChapterOf(FrontendSin sin) => Chapters[((int)sin / 100) - 1];

    private static string RuleOf(FrontendSin sin, Dictionary<string, string> rules) => rules.GetValueOrDefault($"F:{typeof(FrontendSin).FullName}.{sin}", "");
}
