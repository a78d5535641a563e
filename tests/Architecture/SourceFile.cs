using System.Text.RegularExpressions;
using Vhost.Tests.Support;

namespace Vhost.Architecture.Tests;

/// <summary>A checked-in C# file, with comments and literals told from code.</summary>
internal sealed partial class SourceFile
{
    private SourceFile(string path)
    {
        Path = path;
        Lines = File.ReadAllLines(RepositoryRoot.File(path));
        Code = [.. Lines.Select(CodeOf)];
    }

    /// <summary>Path below the repository's root.</summary>
    public string Path { get; }

    /// <summary>Lines as they are.</summary>
    public string[] Lines { get; }

    /// <summary>Lines without comments and without what stands in quotes.</summary>
    public string[] Code { get; }

    /// <summary>The folder below src/, for example <c>Protocol/Wire</c>: the part a file belongs to.</summary>
    public string Part
    {
        get
        {
            string[] parts = Path.Split('/');
            return string.Join('/', parts[1..^1].Take(2));
        }
    }

    /// <summary>Every C# file below src/ that was written by hand.</summary>
    public static IReadOnlyList<SourceFile> All { get; } =
    [
        .. Directory.EnumerateFiles(RepositoryRoot.File("src"), "*.cs", SearchOption.AllDirectories)
            .Select(file => System.IO.Path.GetRelativePath(RepositoryRoot.Path, file).Replace('\\', '/'))
            .Where(file => !file.Contains("/obj/", StringComparison.Ordinal) && !file.Contains("/bin/", StringComparison.Ordinal))
            .Order(StringComparer.Ordinal)
            .Select(file => new SourceFile(file)),
    ];

    /// <summary>Places where a word stands in code, as <c>path:line</c>.</summary>
    /// <param name="word">The word.</param>
    /// <param name="asType">Members of another type and of an enumeration do not count.</param>
    public IEnumerable<string> Uses(string word, bool asType = false)
    {
        string wanted = asType ? $@"(?<![.\w]){Regex.Escape(word)}\b(?!\s*=[^=>])" : $@"\b{Regex.Escape(word)}\b";
        Regex pattern = new(wanted, RegexOptions.ExplicitCapture, TimeSpan.FromSeconds(1));
        for (int i = 0; i < Code.Length; i++)
        {
            if (pattern.IsMatch(Code[i]))
                yield return Place(i);
        }
    }

    /// <summary>A line as <c>path:line</c>.</summary>
    public string Place(int index) => $"{Path}:{index + 1}";

    public override string ToString() => Path;

    private static string CodeOf(string line)
    {
        string code = Literals().Replace(line, "\"\"");
        int comment = code.IndexOf("//", StringComparison.Ordinal);
        return comment < 0 ? code : code[..comment];
    }

    [GeneratedRegex("\"(\\\\.|[^\"\\\\])*\"|'(\\\\.|[^'\\\\])'", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Literals();
}
