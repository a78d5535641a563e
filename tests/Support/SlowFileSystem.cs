using Microsoft.Win32.SafeHandles;

namespace Vhost.Tests.Support;

/// <summary>A file system whose file can be opened, and that from then on never answers a question about the file or about itself. Needs root.</summary>
public sealed class SlowFileSystem : UserFileSystem
{
    public const ulong FileSize = 1 << 20;

    private volatile bool _silent;

    private SlowFileSystem(SafeFileHandle device)
        : base(device, FileSize, direct: false)
    {
    }

    /// <summary>The file.</summary>
    public SafeFileHandle File { get; private set; } = null!;

    /// <summary>Null, and why, where this process may not mount one.</summary>
    public static SlowFileSystem? TryMount(out string reason)
    {
        SlowFileSystem? mounted = TryMount(static device => new SlowFileSystem(device), out reason);
        if (mounted is null)
            return null;
        mounted.File = System.IO.File.OpenHandle(mounted.FilePath, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
        mounted._silent = true;
        return mounted;
    }

    public override void Dispose()
    {
        File.Dispose();
        base.Dispose();
    }

    private protected override void Handle(ReadOnlySpan<byte> request)
    {
        if (!_silent || OperationOf(request) is not (GetAttributes or StatFs))
            base.Handle(request);
    }
}
