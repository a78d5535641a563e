using System.Text.RegularExpressions;
using Vhost.Backend.Hosting;
using Vhost.Tests.Support;

namespace Vhost.Hosting.Tests;

/// <summary>The table of settings in docs/hosting.md is what can be set.</summary>
public sealed partial class SettingsDocumentTests
{
    private static readonly string _section = Section().Match(File.ReadAllText(RepositoryRoot.File("docs", "hosting.md"))).Value;

    /// <summary>Each setting with its default, where that is a value that could be set.</summary>
    public static TheoryData<string, string> Defaults
    {
        get
        {
            TheoryData<string, string> defaults = [];
            foreach (Match row in Row().Matches(_section).Where(row => row.Groups["value"].Success))
                defaults.Add(row.Groups["key"].Value, row.Groups["value"].Value);
            return defaults;
        }
    }

    [Fact]
    public void It_has_every_setting_and_no_other() =>
        Row().Matches(_section).Select(row => row.Groups["key"].Value).Should().BeEquivalentTo(HostedBackendSettings.Keys);

    [Theory]
    [MemberData(nameof(Defaults))]
    public void A_default_is_what_is_used_where_nothing_is_set(string key, string value)
    {
        HostedBackendOptions options = new();

        new HostedBackendSettings("disk", TestHost.Settings((key, value))).Configure("disk", options);

        options.Should().BeEquivalentTo(new HostedBackendOptions());
    }

    [GeneratedRegex(@"^## Settings\n.*?(?=^## )", RegexOptions.Singleline | RegexOptions.Multiline, 10_000)]
    private static partial Regex Section();

    [GeneratedRegex(@"^\| `(?<key>[A-Za-z:]+)` \| .* \| (?:`(?<value>[^`]+)`|[^|`]+) \|$", RegexOptions.Multiline | RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex Row();
}
