using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>A block device over a file, where this process may make one.</summary>
internal sealed class LoopDevice : IDisposable
{
    private LoopDevice(string path) => Path = path;

    public string Path { get; }

    /// <summary>Makes one, or skips the test.</summary>
    public static LoopDevice Attach(string file, params string[] options)
    {
        string answer = SmallFileSystem.Run("losetup", [.. options, "--show", "--find", file]).Trim();
        Skip.IfNot(answer.StartsWith("/dev/loop", StringComparison.Ordinal), $"loop devices cannot be made here: {answer}");
        return new LoopDevice(answer);
    }

    /// <summary>It goes when nobody has it open any more.</summary>
    public void Dispose() => SmallFileSystem.Run("losetup", "--detach", Path);
}
