using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using Vhost.Backend;

namespace Vhost.Tool;

/// <summary>Disks being served, one on each socket: from the opened storage to the figures at the end.</summary>
internal static class BlockServer
{
    internal static async Task<ServeReport> RunAsync(ServeSettings settings, CancellationToken stop)
    {
        using ILoggerFactory logs = DeviceServer.CreateLogs(settings.Socket);
        List<ServedDisk> disks = new();
        try
        {
            foreach (SocketSettings _ in settings.Socket.Each)
                disks.Add(Open(settings, disks.Count, logs));
            return await ServeAsync(settings, disks, logs, stop);
        }
        finally
        {
            disks.ForEach(disk => disk.Storage.Dispose());
        }
    }

    private static async Task<ServeReport> ServeAsync(ServeSettings settings, IReadOnlyList<ServedDisk> disks, ILoggerFactory logs, CancellationToken stop)
    {
        await using ServerGroup servers = new([.. disks.Select(disk => disk.Device)], settings.Socket, logs);
        using PosixSignalRegistration hangUp = PosixSignalRegistration.Create(PosixSignal.SIGHUP, context =>
        {
            context.Cancel = true;
            for (int i = 0; i < disks.Count; i++)
                _ = RefreshLaterAsync(disks[i], servers.Backends[i]);
        });
        using TrafficSampler sampler = new(() => Served(disks));
        sampler.Start();
        await servers.RunAsync(settings.What, stop);
        return Report(settings, disks, sampler.Stop());
    }

    /// <summary>Looked at while allocations are counted: without an enumerator.</summary>
    private static long Served(IReadOnlyList<ServedDisk> disks)
    {
        long served = 0;
        for (int i = 0; i < disks.Count; i++)
            served += disks[i].Device.Statistics.Served;
        return served;
    }

    private static ServedDisk Open(ServeSettings settings, int number, ILoggerFactory logs)
    {
        IBlockStorage storage = OpenStorage(settings, number, logs);
        try
        {
            RequireOneBlock(settings, number, storage);
            BlockDevice device = new(storage, new BlockDeviceOptions
            {
                Queues = settings.Queues,
                MaxQueueSize = (ushort)settings.QueueSize,
                LogicalBlockSize = settings.LogicalBlockSize,
                ReadOnly = settings.ReadOnly,
            });
            WarnOfRounding(storage, device);
            return new ServedDisk(storage, device);
        }
        catch
        {
            storage.Dispose();
            throw;
        }
    }

    private static IBlockStorage OpenStorage(ServeSettings settings, int number, ILoggerFactory logs)
    {
        if (settings.Images.Count > 0)
            return OpenImage(settings.Images[number], settings, logs);
        return settings.Memory is { } memory ? new MemoryStorage(memory) : new NullStorage(settings.Null ?? 0);
    }

    private static FileStorage OpenImage(string image, ServeSettings settings, ILoggerFactory logs) => FileStorage.Open(
        image,
        new FileStorageOptions { ReadOnly = settings.ReadOnly, Cache = settings.Cache, Aio = settings.Aio, Lock = settings.Lock, Raw = settings.Raw, LoggerFactory = logs });

    private static void RequireOneBlock(ServeSettings settings, int number, IBlockStorage storage)
    {
        if (storage.Length >= (ulong)settings.LogicalBlockSize)
            return;
        string image = settings.Images[number];
        throw new ToolException(FormattableString.Invariant(
            $"Image {image}: has {storage.Length} bytes, less than one block of --logical-block-size {settings.LogicalBlockSize}. Choose smaller blocks, or give it a size: truncate -s 1G {image}"));
    }

    /// <summary>A disk has whole blocks; an image whose length is none is served all the same, but not without a word.</summary>
    private static void WarnOfRounding(IBlockStorage storage, BlockDevice device)
    {
        if (storage is not FileStorage file || file.FileLength == device.CapacityBytes)
            return;
        string what = file.FileLength < device.CapacityBytes ? "what lies beyond the end of the file reads as zeroes" : "the rest of the file is out of reach";
        ToolOutput.PrintNotice(FormattableString.Invariant(
            $"warning: image {file.Path} has {file.FileLength} bytes, which is not a whole number of blocks: the disk has {device.CapacityBytes}, {what}"));
    }

    private static Task RefreshLaterAsync(ServedDisk disk, VhostUserBackend backend) => Task.Run(() => RefreshAsync(disk, backend), CancellationToken.None);

    private static async Task RefreshAsync(ServedDisk disk, VhostUserBackend backend)
    {
        (IBlockStorage storage, BlockDevice device) = disk;
        try
        {
            bool changed = await device.RefreshCapacityAsync(backend);
            ToolOutput.PrintNotice(FormattableString.Invariant($"capacity {(changed ? "is now" : "is still")} {device.CapacityBytes} bytes"));
            WarnOfRounding(storage, device);
        }
        catch (Exception failure)
        {
            ToolOutput.PrintError(FailureText.Of(failure));
        }
    }

    private static ServeReport Report(ServeSettings settings, IReadOnlyList<ServedDisk> disks, TrafficFigures traffic)
    {
        BlockDeviceStatistics[] all = [.. disks.Select(disk => disk.Device.Statistics)];
        return new ServeReport
        {
            Socket = settings.Socket.Where,
            CapacityBytes = disks.Aggregate(0UL, static (sum, disk) => sum + disk.Device.CapacityBytes),
            Requests = all.Sum(static one => one.Served),
            Failed = all.Sum(static one => one.Failed),
            Dropped = all.Sum(static one => one.Dropped),
            MeasuredRequests = traffic.Requests,
            MeasuredSeconds = Rounding.ToThousandths(traffic.Seconds),
            Iops = traffic.Seconds > 0 ? (long)(traffic.Requests / traffic.Seconds) : 0,
            AllocatedBytesPerOp = traffic.Requests > 0 ? traffic.AllocatedPerRequest : null,
        };
    }

    private sealed record ServedDisk(IBlockStorage Storage, BlockDevice Device);
}
