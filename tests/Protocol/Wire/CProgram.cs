using System.Diagnostics;

namespace Vhost.Protocol.Tests;

/// <summary>Compiles a C program, without linking or running it.</summary>
internal static class CProgram
{
    /// <summary>The compiler; null when there is none.</summary>
    public static string? Compiler { get; } = new[] { "cc", "gcc", "clang" }
        .SelectMany(name => (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Select(folder => Path.Combine(folder, name)))
        .FirstOrDefault(File.Exists);

    /// <summary>What the compiler has to say; empty when it accepts the program.</summary>
    public static string Complaints(string source)
    {
        ProcessStartInfo start = new(Compiler!, ["-std=c11", "-fsyntax-only", "-x", "c", "-"])
        {
            UseShellExecute = false,
            RedirectStandardInput = true,
            RedirectStandardError = true,
        };
        using Process process = Process.Start(start)!;
        Task<string> complaints = process.StandardError.ReadToEndAsync();
        process.StandardInput.Write(source);
        process.StandardInput.Close();
        process.WaitForExit();
        string text = complaints.GetAwaiter().GetResult();
        return process.ExitCode == 0 ? "" : text;
    }
}
