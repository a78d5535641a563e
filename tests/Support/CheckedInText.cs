namespace Vhost.Tests.Support;

/// <summary>Compares a generated text with the one that is checked in, or rewrites it on request.</summary>
public static class CheckedInText
{
    /// <summary>Returns null when the texts agree, otherwise what differs first and how to rewrite the file.</summary>
    /// <param name="path">The checked-in file.</param>
    /// <param name="text">The generated text.</param>
    /// <param name="variable">The environment variable that, set to 1, rewrites the file.</param>
    public static string? Compare(string path, string text, string variable)
    {
        if (Environment.GetEnvironmentVariable(variable) == "1")
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            File.WriteAllText(path, text);
            return null;
        }

        string old = File.Exists(path) ? File.ReadAllText(path) : "";
        if (old == text)
            return null;
        string[] was = old.Split('\n');
        string[] now = text.Split('\n');
        int line = 0;
        while (line < was.Length && line < now.Length && was[line] == now[line])
            line++;
        return $"{path} line {line + 1} is\n  {At(was, line)}\nand would be\n  {At(now, line)}\nRun the test with {variable}=1 to rewrite it.";
    }

    private static string At(string[] lines, int index) => index < lines.Length ? lines[index] : "(nothing)";
}
