namespace Vhost.Conformance;

/// <summary>A word as a POSIX shell takes it for one.</summary>
internal static class ShellWord
{
    public static string Of(string word) => word.Length > 0 && word.All(static c => char.IsAsciiLetterOrDigit(c) || c is '/' or '.' or '-' or '_' or ':' or ',' or '+')
        ? word
        : $"'{word.Replace("'", "'\\''", StringComparison.Ordinal)}'";
}
