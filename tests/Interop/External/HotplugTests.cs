using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.External;

/// <summary>Memory added to and removed from QEMU's storage daemon while requests run.</summary>
public sealed class HotplugTests : IDisposable
{
    private const int DiskSize = 16 << 20;
    private const int BlockSize = 4096;
    private const int Rounds = 25;
    private const ulong PlugStart = 1UL << 36;
    private const ulong PlugSize = 4 << 20;

    private readonly TempFolder _folder = new();
    private readonly List<SharedMemory> _memory = [];

    private string SocketPath => _folder.File("q.sock");

    public void Dispose()
    {
        _memory.ForEach(memory => memory.Dispose());
        _folder.Dispose();
    }

    [SkippableFact]
    [Shows(Counterpart.StorageDaemon, VhostUserRequest.AddMemReg, VhostUserRequest.RemMemReg, VhostUserProtocolFeatures.ConfigureMemSlots)]
    public async Task Slots_come_and_go_while_requests_run()
    {
        await using ChildProcess daemon = await StorageDaemon.ExportAsync(_folder.Image("disk.img", DiskSize), SocketPath);
        await using BlockClient disk = await ConnectAsync(polled: false);
        using CancellationTokenSource stop = new();
        Task<int>[] loops = [.. Enumerable.Range(0, 16).Select(i => WriteAndCompareAsync(disk, i, stop.Token))];

        for (int round = 0; round < Rounds; round++)
        {
            GuestMemoryRegion[] regions = [.. Enumerable.Range(0, 8).Select(i => Region(PlugStart + ((ulong)i * 2 * PlugSize)))];
            foreach (GuestMemoryRegion region in regions)
                await disk.Frontend.AddMemoryAsync(region).InTime();
            foreach (GuestMemoryRegion region in regions)
                await disk.Frontend.RemoveMemoryAsync(region).InTime();
        }

        await stop.CancelAsync();
        int[] counts = await Task.WhenAll(loops).InTime();
        counts.Should().OnlyContain(count => count > 0, "every loop goes on while memory changes");
    }

    [SkippableFact]
    public async Task Added_memory_carries_data_and_removed_memory_is_gone()
    {
        string image = _folder.Image("disk.img", DiskSize);
        byte[] content = new byte[(int)PlugSize];
        new Random(5).NextBytes(content);
        await using (ChildProcess daemon = await StorageDaemon.ExportAsync(image, SocketPath))
        {
            await using BlockClient disk = await ConnectAsync(polled: true);
            GuestMemoryRegion region = Region(PlugStart);
            await disk.Frontend.AddMemoryAsync(region).InTime();
            using (GuestMemoryLease lease = disk.Frontend.Memory.Acquire())
                lease.TryCopyFrom(content, region.GuestAddress).Should().BeTrue();
            for (uint at = 0; at < PlugSize; at += 64 * BlockSize)
                Complete(disk.Queues[0], VirtioBlkRequestType.Out, at, [new GuestBuffer(new GuestAddress(PlugStart + at), 64 * BlockSize)]).Should().BeTrue();
            await disk.Frontend.RemoveMemoryAsync(region).InTime();
            Complete(disk.Queues[0], VirtioBlkRequestType.Flush, 0, []).Should().BeTrue("the queue lives without the region");
            await disk.DisposeAsync();
            await daemon.TerminateAsync();
        }

        byte[] expected = new byte[DiskSize];
        content.CopyTo(expected, 0);
        await File.WriteAllBytesAsync(_folder.File("expected.img"), expected);
        await StorageDaemon.ShouldEqualAsync(image, _folder.File("expected.img"));
    }

    private GuestMemoryRegion Region(ulong at)
    {
        SharedMemory memory = SharedMemory.CreateSealed("hotplug", PlugSize);
        _memory.Add(memory);
        return new GuestMemoryRegion(new GuestAddress(at), memory);
    }

    /// <summary>Writes and reads one place of the disk with changing content until told to stop; returns how often.</summary>
    private static async Task<int> WriteAndCompareAsync(BlockClient disk, int place, CancellationToken stop)
    {
        byte[] written = new byte[BlockSize];
        byte[] read = new byte[BlockSize];
        int rounds = 0;
        while (!stop.IsCancellationRequested)
        {
            Array.Fill(written, (byte)(place + rounds));
            await disk.WriteAsync((ulong)place * BlockSize, written, cancellationToken: CancellationToken.None);
            await disk.ReadAsync((ulong)place * BlockSize, read, cancellationToken: CancellationToken.None);
            read.AsSpan().SequenceEqual(written).Should().BeTrue();
            rounds++;
        }

        return rounds;
    }

    private static bool Complete(BlockQueue queue, VirtioBlkRequestType type, ulong offset, ReadOnlySpan<GuestBuffer> data)
    {
        queue.TrySubmit(0, new VirtioBlkRequestHeader(type, 0, offset / 512), data, []).Should().BeTrue();
        queue.Publish();
        BlockCompletion[] completions = new BlockCompletion[1];
        SpinWait.SpinUntil(() => queue.Poll(completions) == 1, Eventually.Deadline).Should().BeTrue();
        return completions[0].IsOk;
    }

    private ValueTask<BlockClient> ConnectAsync(bool polled) => BlockClient.ConnectAsync(
        SocketPath, new BlockClientOptions { Polled = polled, Connect = new VhostUserConnectOptions { RetryFor = Eventually.Deadline } });
}
