using System.ComponentModel;
using System.Diagnostics;

namespace Vhost.Tests.Support;

/// <summary>A file system of 4 MiB in memory, where this process may mount one.</summary>
public sealed class SmallFileSystem : IDisposable
{
    private readonly string _folder;

    private SmallFileSystem(string folder) => _folder = folder;

    public static SmallFileSystem? TryMount()
    {
        string folder = Directory.CreateTempSubdirectory("vu-").FullName;
        string answer = Run("mount", "-t", "tmpfs", "-o", "size=4m", "vu", folder);
        if (answer.Length == 0)
            return new SmallFileSystem(folder);
        Directory.Delete(folder);
        return null;
    }

    /// <summary>Makes a file that need not fit.</summary>
    public string File(string name, long length)
    {
        string path = Path.Combine(_folder, name);
        using FileStream file = System.IO.File.Create(path);
        file.SetLength(length);
        return path;
    }

    public void Dispose()
    {
        Run("umount", _folder);
        Directory.Delete(_folder);
    }

    /// <summary>Runs a program of the system.</summary>
    /// <returns>All that it says, or why it cannot be run.</returns>
    public static string Run(string program, params string[] arguments)
    {
        try
        {
            using Process process = Process.Start(
                new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true, UseShellExecute = false })!;
            Task<string> errors = process.StandardError.ReadToEndAsync();
            string output = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            return output + errors.Result;
        }
        catch (Win32Exception e)
        {
            return e.Message;
        }
    }
}
