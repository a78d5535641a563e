using System.Globalization;
using System.Text.RegularExpressions;

namespace Vhost.Conformance.Tests;

/// <summary>The page as it is written.</summary>
public sealed partial class HtmlTextTests
{
    private static readonly string _page = Render(SampleReport.Whole);

    [Fact]
    public void The_file_names_nothing_outside() => _page.Should().NotContainAny("http://", "https://", " src=", "url(", "@import", "//cdn");

    [Fact]
    public void What_a_peer_said_is_encoded()
    {
        _page.Should().Contain("&lt;/script&gt;&lt;img onerror=alert(1)&gt;&amp;&quot;&#39;`]]&gt;").And.NotContain("<img");
        _page.Split("</script>").Should().HaveCount(2, "there is one script, and it ends once");
    }

    [Fact]
    public void The_policy_allows_the_script_of_the_page_alone() => _page.Should().Contain($"content=\"{HtmlScript.Policy.Replace("'", "&#39;", StringComparison.Ordinal)}\"");

    [Fact]
    public void The_worst_comes_first()
    {
        int[] places = [.. ((string[])["hostile-rings/r03-descriptor-loop", "hostile-control/b12-text", "ring-states/kick-before-enable", "split-rings/in-order"])
            .Select(id => _page.IndexOf($"<p class=\"id\">{id}</p>", StringComparison.Ordinal))];
        places.Should().BeInAscendingOrder().And.NotContain(-1);
    }

    [Fact]
    public void A_peer_that_conforms_is_told_so_without_a_list_of_failures() =>
        Render(SampleReport.Good).Should().Contain("Conforms: none of 38 cases failed").And.NotContain("What went wrong");

    [Fact]
    public void A_case_that_ran_twice_has_two_anchors()
    {
        ConformanceResult first = SampleReport.Good.Results[0];
        string page = Render(SampleReport.Good with { Results = [first, first with { Reason = "" }] });
        page.Should().Contain("id=\"negotiation/rule-1\"").And.Contain("id=\"negotiation/rule-1-2\"");
    }

    /// <summary>WCAG 2.2, 1.4.3, in all three sets of colours: light, dark, paper.</summary>
    [Fact]
    public void Text_stands_out_from_what_is_behind_it()
    {
        Dictionary<string, double>[] sets = [.. Roots().Matches(HtmlStyle.Sheet).Select(root => Colours().Matches(root.Value)
            .ToDictionary(colour => colour.Groups["name"].Value, colour => Luminance(colour.Groups["value"].Value), StringComparer.Ordinal))];
        sets.Should().HaveCount(3);
        foreach (Dictionary<string, double> set in sets)
        {
            foreach ((string ink, string behind) in Pairs())
                Contrast(set[ink], set[behind]).Should().BeGreaterThanOrEqualTo(4.5, "{0} is read on {1}", ink, behind);
        }
    }

    private static IEnumerable<(string Ink, string Behind)> Pairs()
    {
        string[] verdicts = ["pass", "reject", "fail", "wedged", "skip"];
        string[] surfaces = ["page", "card", "sunk"];
        return
        [
            .. from ink in (string[])["text", "quiet", "link", .. verdicts] from behind in surfaces select (ink, behind),
            .. from verdict in verdicts from ink in (string[])["text", verdict] select (ink, $"{verdict}-tint"),
            ("card", "fail"),
        ];
    }

    private static double Contrast(double one, double other) => (Math.Max(one, other) + 0.05) / (Math.Min(one, other) + 0.05);

    private static double Luminance(string colour)
    {
        double[] parts = [.. Enumerable.Range(0, 3).Select(at => Linear(int.Parse(colour.AsSpan(at * 2, 2), NumberStyles.HexNumber, CultureInfo.InvariantCulture) / 255.0))];
        return (0.2126 * parts[0]) + (0.7152 * parts[1]) + (0.0722 * parts[2]);
    }

    private static double Linear(double part) => part <= 0.04045 ? part / 12.92 : Math.Pow((part + 0.055) / 1.055, 2.4);

    private static string Render(ConformanceReport report)
    {
        using StringWriter writer = new();
        HtmlReport.Write(report, writer);
        return writer.ToString();
    }

    [GeneratedRegex(@":root \{(?<body>[^}]*)\}", RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex Roots();

    [GeneratedRegex("--(?<name>[a-z-]+): #(?<value>[0-9a-f]{6});", RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex Colours();
}
