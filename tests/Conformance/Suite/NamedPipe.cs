using System.Diagnostics;

namespace Vhost.Conformance.Tests;

/// <summary>A pipe with a name, by which this process and a shell wait for each other: opening one end waits for the other.</summary>
internal sealed class NamedPipe : IDisposable
{
    public NamedPipe()
    {
        using Process made = Process.Start("mkfifo", [Path]);
        made.WaitForExit();
        made.ExitCode.Should().Be(0);
    }

    public string Path { get; } = System.IO.Path.Combine(System.IO.Path.GetTempPath(), $"pipe-{Guid.NewGuid():N}");

    /// <summary>The next line that somebody writes.</summary>
    public Task<string> HearAsync() => OnThreadOfItsOwn(() => File.ReadAllText(Path).Trim());

    /// <summary>Writes a line once somebody reads.</summary>
    public Task SayAsync(string line) => OnThreadOfItsOwn(() =>
    {
        using FileStream end = new(Path, FileMode.Open, FileAccess.Write);
        using StreamWriter writer = new(end);
        writer.WriteLine(line);
        return true;
    });

    public void Dispose() => File.Delete(Path);

    private static Task<T> OnThreadOfItsOwn<T>(Func<T> act) => Task.Factory.StartNew(act, default, TaskCreationOptions.LongRunning, TaskScheduler.Default);
}
