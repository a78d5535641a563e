using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Guests;

/// <summary>Looks at a file system in an image from outside, with the tools of e2fsprogs.</summary>
internal static class ImageCheck
{
    private const string Package = "e2fsprogs";
    private static readonly string[] _folders = ["/usr/sbin", "/sbin"];

    /// <summary><c>e2fsck -fn</c> finds nothing.</summary>
    internal static async Task ShouldBeCleanAsync(string image)
    {
        ChildProcess.Outcome outcome = await ChildProcess.RunAsync(Require("e2fsck"), "-fn", image);
        outcome.ExitCode.Should().Be(0, $"{outcome.OutputText}\n{string.Join('\n', outcome.Errors)}");
    }

    /// <summary>Copies the file system into a folder.</summary>
    internal static async Task ExtractAsync(string image, string folder)
    {
        Directory.CreateDirectory(folder);
        ChildProcess.Outcome outcome = await ChildProcess.RunAsync(Require("debugfs"), "-R", $"rdump / {folder}", image);
        outcome.ExitCode.Should().Be(0, string.Join('\n', outcome.Errors));
    }

    private static string Require(string program) => _folders.Select(folder => Path.Combine(folder, program)).FirstOrDefault(File.Exists) ?? Peers.Require(program, Package);
}
