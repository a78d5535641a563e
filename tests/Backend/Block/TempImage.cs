namespace Vhost.Backend.Tests;

/// <summary>A disk image nobody else uses; removed at the end.</summary>
internal sealed class TempImage : IDisposable
{
    public TempImage(long length)
    {
        using FileStream file = File.Create(Path);
        file.SetLength(length);
    }

    public string Path { get; } = System.IO.Path.Combine(System.IO.Path.GetTempPath(), $"vu-{Guid.NewGuid():N}.img");

    public void Dispose() => File.Delete(Path);
}
