using System.Text.RegularExpressions;

namespace Vhost.Architecture.Tests;

/// <summary>The wire vocabulary is pure: it knows nothing of sockets, mappings or rings.</summary>
public sealed partial class LayerTests
{
    private static readonly string[] _pure = ["Protocol/Wire", "Protocol/Errors", "Protocol/Devices"];

    [Fact]
    public void Wire_errors_and_device_structures_use_no_other_part_of_the_protocol()
    {
        string[] foreign =
        [
            .. SourceFile.All
                .Where(file => file.Part.StartsWith("Protocol/", StringComparison.Ordinal) && !_pure.Contains(file.Part))
                .SelectMany(TypesOf)
                .Distinct(StringComparer.Ordinal)
                .Except(SourceFile.All.Where(file => _pure.Contains(file.Part)).SelectMany(TypesOf), StringComparer.Ordinal),
        ];
        foreign.Should().Contain("Libc", "the scanner finds types");
        IEnumerable<string> uses =
            from file in SourceFile.All
            where _pure.Contains(file.Part)
            from type in foreign
            from place in file.Uses(type, asType: true)
            select $"{place} uses {type}";
        uses.Should().BeEmpty();
    }

    [Fact]
    public void Wire_code_does_not_reflect()
    {
        foreach (string word in (string[])["System.Reflection", "Activator", "typeof", "GetType"])
        {
            SourceFile.All.Where(file => file.Part == "Protocol/Wire").SelectMany(file => file.Uses(word)).Should().BeEmpty();
        }
    }

    private static IEnumerable<string> TypesOf(SourceFile file) =>
        from line in file.Code
        let match = Declaration().Match(line)
        where match.Success
        select match.Groups["name"].Value;

    [GeneratedRegex(@"\b(class|struct|interface|enum|record struct|record class|record)\s+(?<name>[A-Z]\w*)", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Declaration();
}
