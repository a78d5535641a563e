using System.Text;
using System.Text.Json;
using Vhost.Backend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>What a back-end says about itself ends on somebody's terminal.</summary>
public sealed class PeerTextTests
{
    /// <summary>Clears the screen, writes a title, rings, starts a new line.</summary>
    private const string Name = "\u001b[2J\u001b]0;x\u0007\r\n\u007fok";

    [Fact]
    public async Task F09_A_name_with_terminal_commands_is_printed_as_text()
    {
        using TempSocket socket = new();
        using MemoryStorage storage = new(1 << 20);
        using CancellationTokenSource stop = new();
        await using VhostUserBackend backend = new(new NamedDisk(new BlockDevice(storage)));
        Task serving = backend.ListenAsync(socket.Path, stop.Token);
        ChildProcess.Outcome shown = await ToolProcess.RunAsync("blk", "info", "--socket", socket.Path);
        shown.ExitCode.Should().Be(0);
        shown.Output.Should().ContainSingle(static line => line.Contains("?[2J?]0;x????ok", StringComparison.Ordinal));
        shown.Output.Concat(shown.Errors).Should().NotContain(static line => line.Any(char.IsControl));

        JsonElement json = await ToolProcess.JsonAsync("blk", "info", "--socket", socket.Path);
        json.GetProperty("id").GetString().Should().Be(Name, "JSON has its own way to write control characters");
        await stop.CancelAsync();
        await serving.InTime();
    }

    /// <summary>A disk that answers every GET_ID with <see cref="Name"/>; nothing else is asked of it.</summary>
    private sealed class NamedDisk(BlockDevice disk) : IVhostUserDevice
    {
        public int QueueCount => disk.QueueCount;

        public ushort MaxQueueSize => disk.MaxQueueSize;

        public VirtioFeatures Features => disk.Features;

        public int ConfigLength => disk.ConfigLength;

        public bool TryReadConfig(uint offset, Span<byte> destination) => disk.TryReadConfig(offset, destination);

        public void Configure(VirtioFeatures acknowledged) => disk.Configure(acknowledged);

        public void Process(DeviceVirtqueue queue)
        {
            Span<byte> answer = stackalloc byte[VirtioBlkRequestHeader.IdSize + 1];
            answer.Clear();
            Encoding.ASCII.GetBytes(Name, answer);
            while (queue.TryPop(out DescriptorChain chain))
            {
                chain.Writable.CopyFrom(answer);
                queue.Complete(chain, (uint)answer.Length);
            }
        }

        public void Reset() => disk.Reset();
    }
}
