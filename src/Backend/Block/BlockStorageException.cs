namespace Vhost.Backend;

/// <summary>A disk image cannot be used. The message names the path, the reason and what to do.</summary>
public sealed class BlockStorageException : IOException
{
    internal BlockStorageException(string path, string reason, string advice, Exception? inner = null)
        : base($"Image {path}: {reason}. {advice}", inner) => Path = path;

    /// <summary>The image.</summary>
    public string Path { get; }
}
