namespace Vhost.Tests.Support;

/// <summary>A socket path nobody else uses; the file is removed at the end.</summary>
public sealed class TempSocket : IDisposable
{
    public TempSocket(string suffix = ".sock") => Path = System.IO.Path.Combine(System.IO.Path.GetTempPath(), $"vu-{Guid.NewGuid():N}"[..15] + suffix);

    public string Path { get; }

    public bool Exists => File.Exists(Path);

    public void Dispose() => File.Delete(Path);
}
