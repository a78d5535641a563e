using System.Text.RegularExpressions;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Documentation;

/// <summary>The test classes that say what they show (<see cref="ShowsAttribute"/>), out of the sources of all test projects.</summary>
internal sealed partial class Evidence
{
    private readonly ILookup<string, Shown> _shown = Directory
        .EnumerateFiles(RepositoryRoot.File("tests"), "*Tests.cs", SearchOption.AllDirectories)
        .Where(path => !path.Contains("/obj/", StringComparison.Ordinal))
        .Order(StringComparer.Ordinal)
        .SelectMany(ShownIn)
        .ToLookup(shown => shown.What, StringComparer.Ordinal);

    /// <summary>The cells of a table: how each half stands to something, with a link to a test where it does it, and who else it was tested with.</summary>
    /// <param name="what">As the sources write it, for example <c>VhostUserRequest.SetOwner</c>.</param>
    /// <param name="frontend">What our front-end does.</param>
    /// <param name="backend">What our back-end does.</param>
    /// <exception cref="InvalidOperationException">A half does it, and no test shows that.</exception>
    internal string Cells(string what, string frontend, string backend)
    {
        string others = string.Join(", ", _shown[what]
            .Where(shown => shown.With != Counterpart.Script)
            .GroupBy(shown => shown.With)
            .OrderBy(group => group.Key)
            .Select(group => $"[{NameOf(group.Key)}]({group.First().Path})"));
        return $"{Cell(what, frontend, "Frontend")} | {Cell(what, backend, "Backend")} | {(others.Length == 0 ? "–" : others)}";
    }

    private string Cell(string what, string how, string half)
    {
        if (how is "no" or "not yet" or "refused" or "–")
            return how;
        string? test = _shown[what].Where(shown => shown.With == Counterpart.Script && shown.Path.Split('/')[1] == half).Select(shown => shown.Path).FirstOrDefault();
        test ??= _shown[what].Where(shown => shown.With == Counterpart.Loopback).Select(shown => shown.Path).FirstOrDefault();
        return test is null ? throw new InvalidOperationException($"{what}: '{how}' by the {half}, and no test class with [Shows] shows it.") : $"[{how}]({test})";
    }

    private static IEnumerable<Shown> ShownIn(string path) => ShowsOf().Matches(File.ReadAllText(path)).SelectMany(match => match.Groups["shown"].Captures.Select(shown =>
        new Shown(shown.Value, Enum.Parse<Counterpart>(match.Groups["with"].Value), Path.GetRelativePath(RepositoryRoot.Path, path))));

    private static string NameOf(Counterpart with) => with switch
    {
        Counterpart.Qemu => "QEMU",
        Counterpart.Dpdk => "DPDK",
        Counterpart.StorageDaemon => "storage daemon",
        _ => "loopback",
    };

    [GeneratedRegex(@"\[Shows\(\s*Counterpart\.(?<with>\w+)(,\s*(?<shown>\w+\.\w+))+\)\]", RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex ShowsOf();

    private readonly record struct Shown(string What, Counterpart With, string Path);
}
