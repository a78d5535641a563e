namespace Vhost.Bench.Compare;

/// <summary>A file full of data, made when it is first asked for and removed with the workbench.</summary>
internal sealed class ImageFile(string folder, long length)
{
    private string? _path;

    internal string Path(Workbench bench)
    {
        if (_path is { } made)
            return made;
        string path = System.IO.Path.GetFullPath(System.IO.Path.Combine(folder, bench.NewName("disk.img")));
        Directory.CreateDirectory(System.IO.Path.GetDirectoryName(path)!);
        bench.RemoveAtEnd(path);
        byte[] content = new byte[1 << 20];
        Random random = new(1);
        using FileStream file = File.Create(path);
        for (long at = 0; at < length; at += content.Length)
        {
            random.NextBytes(content);
            file.Write(content);
        }

        file.Flush(flushToDisk: true);
        return _path = path;
    }
}
