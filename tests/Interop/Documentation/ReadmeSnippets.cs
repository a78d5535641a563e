using System.Globalization;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Documentation;

/// <summary>The code of README.md, run.</summary>
public sealed class ReadmeSnippets
{
    [Fact]
    public async Task A_disk_is_used()
    {
        using TempFolder folder = new();
        string path = folder.File("s");
        using MemoryStorage storage = new(1 << 20);
        await using VhostUserBackend backend = new(new BlockDevice(storage));
        using CancellationTokenSource stop = new();
        Task serving = backend.ListenAsync(path, stop.Token);
        using StringWriter output = new(CultureInfo.InvariantCulture);

        await UseAsync(path, output);

        output.ToString().Should().Contain("features offered").And.Contain("BLK_SIZE");
        await stop.CancelAsync();
        await serving.InTime();
    }

    private static async Task UseAsync(string socketPath, StringWriter Console)
    {
        // snippet: disk
        await using BlockClient disk = await BlockClient.ConnectAsync(socketPath);
        Console.WriteLine(disk.Summary);                 // who offered what, what was agreed
        byte[] data = new byte[4096];
        await disk.ReadAsync(0, data);
        await disk.WriteAsync(4096, data);
        await disk.FlushAsync();

        // end
    }
}
