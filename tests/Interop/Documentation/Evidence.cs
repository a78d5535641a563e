using System.Text.RegularExpressions;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Documentation;

/// <summary>The tests that say what they show (<see cref="ShowsAttribute"/>), out of the sources of all test projects.</summary>
internal sealed partial class Evidence
{
    private readonly ILookup<string, Shown> _shown = Directory
        .EnumerateFiles(RepositoryRoot.File("tests"), "*Tests.cs", SearchOption.AllDirectories)
        .Where(path => !path.Contains("/obj/", StringComparison.Ordinal))
        .Order(StringComparer.Ordinal)
        .SelectMany(ShownIn)
        .ToLookup(shown => shown.What, StringComparer.Ordinal);

    /// <summary>The cells of a table: how each half stands to something, with a link to a test where it does it, and who else it was tested with. No cell is empty.</summary>
    /// <param name="what">As the sources write it, for example <c>VhostUserRequest.SetOwner</c>.</param>
    /// <param name="frontend">What our front-end does; null: nothing.</param>
    /// <param name="backend">What our back-end does; null: nothing.</param>
    /// <param name="reason">Why a half does nothing, written beside it.</param>
    /// <exception cref="InvalidOperationException">A half does it, and no test shows that, or nobody but the test was there; or it does not, and there is no reason.</exception>
    internal string Cells(string what, string? frontend, string? backend, string? reason = null) =>
        $"{Cell(what, frontend, "Frontend", reason)} | {Cell(what, backend, "Backend", reason)} | {Others(what, reason)}";

    /// <summary>Who else it was tested with.</summary>
    internal string Others(string what, string? reason = null)
    {
        string others = string.Join(", ", _shown[what]
            .Where(shown => shown.With != Counterpart.Script)
            .GroupBy(shown => shown.With)
            .OrderBy(group => group.Key)
            .Select(group => Link(NameOf(group.Key), group.First())));
        if (others.Length == 0 && reason is null)
            throw new InvalidOperationException($"{what}: no test with [Shows] has our other half or another program at the other end.");
        return others.Length == 0 ? "–" : others;
    }

    private string Cell(string what, string? how, string half, string? reason)
    {
        if (how is null)
            return reason is null ? throw new InvalidOperationException($"{what}: nothing by the {half}, and no reason why.") : "no";
        Shown? test = _shown[what].FirstOrDefault(shown => shown.With == Counterpart.Script && shown.Path.Split('/')[1] == half)
            ?? _shown[what].FirstOrDefault(shown => shown.With == Counterpart.Loopback);
        return test is not null ? Link(how, test) : throw new InvalidOperationException($"{what}: '{how}' by the {half}, and no test with [Shows] shows it.");
    }

    /// <summary>A browser shows the name of the test to whoever points at the link.</summary>
    private static string Link(string text, Shown shown) => $"[{text}]({shown.Path} \"{shown.Test}\")";

    private static IEnumerable<Shown> ShownIn(string path)
    {
        string source = File.ReadAllText(path);
        foreach (Match shows in ShowsOf().Matches(source))
        {
            string test = Declaration().Match(source, shows.Index).Groups["test"].Value;
            foreach (Capture shown in shows.Groups["shown"].Captures)
                yield return new Shown(shown.Value, Enum.Parse<Counterpart>(shows.Groups["with"].Value), Path.GetRelativePath(RepositoryRoot.Path, path), test);
        }
    }

    private static string NameOf(Counterpart with) => with switch
    {
        Counterpart.Qemu => "QEMU",
        Counterpart.Dpdk => "DPDK",
        Counterpart.StorageDaemon => "storage daemon",
        _ => "loopback",
    };

    [GeneratedRegex(@"\[Shows\(\s*Counterpart\.(?<with>\w+)(,\s*(?<shown>\w+\.\w+))+\)\]", RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex ShowsOf();

    /// <summary>The test that an attribute is at.</summary>
    [GeneratedRegex(@"^ *public .*?(?<test>\w+)\(", RegexOptions.ExplicitCapture | RegexOptions.Multiline, 10_000)]
    private static partial Regex Declaration();

    /// <param name="What">As the sources write it.</param>
    /// <param name="With">Who was at the other end.</param>
    /// <param name="Path">The file, from the top.</param>
    /// <param name="Test">The name of the test in it.</param>
    private sealed record Shown(string What, Counterpart With, string Path, string Test);
}
