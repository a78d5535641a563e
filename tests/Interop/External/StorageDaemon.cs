using System.Globalization;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>A vhost-user-blk export of <c>qemu-storage-daemon</c>, and QEMU's tools for images.</summary>
internal static class StorageDaemon
{
    private const string Package = "qemu-system-common";
    private const string ToolsPackage = "qemu-utils";

    /// <summary>Starts a daemon that exports a raw image. It has made its socket when this returns.</summary>
    internal static Task<ChildProcess> ExportAsync(string image, string socket, int queues = 1, bool writable = true) =>
        StartAsync($"driver=file,node-name=d0,filename={image}{(writable ? "" : ",read-only=on")}", socket, queues, writable);

    /// <summary>Starts a daemon whose disk stores nothing and answers after a time.</summary>
    internal static Task<ChildProcess> ExportSlowNullAsync(string socket, TimeSpan latency) => StartAsync(
        string.Create(CultureInfo.InvariantCulture, $"driver=null-aio,node-name=d0,size=1073741824,latency-ns={(long)latency.TotalNanoseconds}"), socket, 1, writable: true);

    /// <summary>Starts a daemon without waiting for it.</summary>
    internal static ChildProcess Start(string blockDevice, string socket, int queues, bool writable) => ChildProcess.Start(
        Peers.Require("qemu-storage-daemon", Package),
        "--blockdev",
        blockDevice,
        "--export",
        string.Create(
            CultureInfo.InvariantCulture,
            $"type=vhost-user-blk,id=e0,node-name=d0,addr.type=unix,addr.path={socket},writable={(writable ? "on" : "off")},num-queues={queues}"));

    /// <summary><c>qemu-img compare</c>: whether two raw images are the same.</summary>
    internal static async Task ShouldEqualAsync(string image, string expected)
    {
        ChildProcess.Outcome outcome = await ChildProcess.RunAsync(Peers.Require("qemu-img", ToolsPackage), "compare", "-f", "raw", "-F", "raw", image, expected);
        outcome.ExitCode.Should().Be(0, $"{outcome.OutputText} {string.Join(' ', outcome.Errors)}");
        outcome.OutputText.Should().Contain("identical");
    }

    /// <summary>Runs one command of <c>qemu-io</c> on a raw image.</summary>
    internal static async Task<ChildProcess.Outcome> IoAsync(string image, string command) =>
        await ChildProcess.RunAsync(Peers.Require("qemu-io", ToolsPackage), "-f", "raw", "-c", command, image);

    private static async Task<ChildProcess> StartAsync(string blockDevice, string socket, int queues, bool writable)
    {
        ChildProcess daemon = Start(blockDevice, socket, queues, writable);
        try
        {
            await Eventually.TrueAsync(() => File.Exists(socket));
            return daemon;
        }
        catch
        {
            await daemon.DisposeAsync();
            throw;
        }
    }
}
