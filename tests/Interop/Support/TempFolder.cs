namespace Vhost.Interop.Tests;

/// <summary>A folder of a test's own, with a path short enough for sockets; removed with everything in it.</summary>
internal sealed class TempFolder : IDisposable
{
    internal TempFolder() => Directory.CreateDirectory(Path);

    internal string Path { get; } = System.IO.Path.Combine(System.IO.Path.GetTempPath(), $"vu-{Guid.NewGuid():N}"[..15]);

    internal string File(string name) => System.IO.Path.Combine(Path, name);

    /// <summary>A file of zeroes without blocks.</summary>
    internal string Image(string name, long length)
    {
        string path = File(name);
        using FileStream file = System.IO.File.Create(path);
        file.SetLength(length);
        return path;
    }

    /// <summary>A file of pseudo-random bytes.</summary>
    internal string Data(string name, int length, int seed = 1)
    {
        byte[] bytes = new byte[length];
        new Random(seed).NextBytes(bytes);
        string path = File(name);
        System.IO.File.WriteAllBytes(path, bytes);
        return path;
    }

    public void Dispose() => Directory.Delete(Path, recursive: true);
}
