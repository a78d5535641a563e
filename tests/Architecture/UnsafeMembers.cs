using System.Text.RegularExpressions;

namespace Vhost.Architecture.Tests;

/// <summary>Finds the members and blocks that can go wrong in memory: what is marked unsafe, and what uses a pointer inside a type that is.</summary>
internal static partial class UnsafeMembers
{
    /// <summary>Lines at which a reason must stand above.</summary>
    public static IEnumerable<int> In(SourceFile file)
    {
        for (int line = 0; line < file.Code.Length; line++)
        {
            if (!Marked().IsMatch(file.Code[line]) || IsImport(file, line))
                continue;
            if (Type().IsMatch(file.Code[line]))
            {
                foreach (int member in HasReason(file, line) ? [] : PointerMembers(file, line))
                    yield return member;
            }
            else
            {
                yield return line;
            }
        }
    }

    /// <summary>A comment that begins with "Safety:" stands above the line, among its attributes and comments.</summary>
    public static bool HasReason(SourceFile file, int line) => Above(file, line).Any(above => above.Contains("Safety:", StringComparison.Ordinal));

    // A declaration of a system call has no body to be unsound; its callers say why they are sound.
    private static bool IsImport(SourceFile file, int line) =>
        Above(file, line).Any(above => above.Contains("LibraryImport(", StringComparison.Ordinal));

    private static IEnumerable<string> Above(SourceFile file, int line)
    {
        for (int i = line - 1; i >= 0; i--)
        {
            string above = file.Lines[i].TrimStart();
            if (!above.StartsWith("//", StringComparison.Ordinal) && !above.StartsWith('['))
                yield break;
            yield return above;
        }
    }

    // Members of the type that starts at a line: with a body and with a pointer in it.
    private static IEnumerable<int> PointerMembers(SourceFile file, int typeLine)
    {
        int depth = 0;
        int start = -1;
        bool body = false, pointer = false;
        for (int line = typeLine + 1; line < file.Code.Length; line++)
        {
            string code = file.Code[line];
            bool member = depth == 1 && code.Trim() is { Length: > 0 } text && text[0] is not ('[' or '{' or '}');
            if (member && start < 0)
                (start, body, pointer) = (line, false, false);
            body |= start >= 0 && (code.Contains('{', StringComparison.Ordinal) || code.Contains("=>", StringComparison.Ordinal));
            pointer |= start >= 0 && Pointer().IsMatch(code);
            depth += code.Count(c => c == '{') - code.Count(c => c == '}');
            if (depth <= 0 && code.Contains('}', StringComparison.Ordinal))
                yield break;
            if (depth != 1 || start < 0 || !(code.TrimEnd().EndsWith('}') || code.TrimEnd().EndsWith(';')))
                continue;
            if (body && pointer)
                yield return start;
            start = -1;
        }
    }

    [GeneratedRegex(@"\bunsafe\b", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Marked();

    [GeneratedRegex(@"\bunsafe\b.*\b(class|struct|interface)\b", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Type();

    [GeneratedRegex(@"[\w>]\*[\s\w)>,]|\(\w+\*\)|\bstackalloc\b|->", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Pointer();
}
