using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using Vhost.Backend;

namespace Vhost.Tool;

/// <summary>A disk being served: from the opened storage to the figures at the end.</summary>
internal static class BlockServer
{
    internal static async Task<ServeReport> RunAsync(ServeSettings settings, CancellationToken stop)
    {
        using ILoggerFactory logs = DeviceServer.CreateLogs(settings.Socket);
        using IBlockStorage storage = OpenStorage(settings, logs);
        RequireOneBlock(settings, storage);
        BlockDevice device = new(storage, new BlockDeviceOptions
        {
            Queues = settings.Queues,
            MaxQueueSize = (ushort)settings.QueueSize,
            LogicalBlockSize = settings.LogicalBlockSize,
            ReadOnly = settings.ReadOnly,
        });
        WarnOfRounding(storage, device);
        await using VhostUserBackend backend = DeviceServer.Create(device, settings.Socket, logs);
        using PosixSignalRegistration hangUp = PosixSignalRegistration.Create(PosixSignal.SIGHUP, context =>
        {
            context.Cancel = true;
            _ = Task.Run(() => RefreshAsync(storage, device, backend), CancellationToken.None);
        });
        using TrafficSampler sampler = new(device);
        sampler.Start();
        await DeviceServer.RunAsync(backend, settings.What, settings.Socket, stop);
        return Report(settings, device, sampler.Stop());
    }

    private static IBlockStorage OpenStorage(ServeSettings settings, ILoggerFactory logs)
    {
        if (settings.Image is { } image)
        {
            return FileStorage.Open(
                image, new FileStorageOptions { ReadOnly = settings.ReadOnly, Cache = settings.Cache, Aio = settings.Aio, LoggerFactory = logs });
        }

        return settings.Memory is { } memory ? new MemoryStorage(memory) : new NullStorage(settings.Null ?? 0);
    }

    private static void RequireOneBlock(ServeSettings settings, IBlockStorage storage)
    {
        if (storage.Length >= (ulong)settings.LogicalBlockSize)
            return;
        throw new ToolException(FormattableString.Invariant(
            $"Image {settings.Image}: has {storage.Length} bytes, less than one block of --logical-block-size {settings.LogicalBlockSize}. Choose smaller blocks, or give it a size: truncate -s 1G {settings.Image}"));
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

    private static async Task RefreshAsync(IBlockStorage storage, BlockDevice device, VhostUserBackend backend)
    {
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

    private static ServeReport Report(ServeSettings settings, BlockDevice device, TrafficFigures traffic)
    {
        BlockDeviceStatistics statistics = device.Statistics;
        return new ServeReport
        {
            Socket = settings.Socket.Where,
            CapacityBytes = device.CapacityBytes,
            Requests = statistics.Served,
            Failed = statistics.Failed,
            Dropped = statistics.Dropped,
            MeasuredRequests = traffic.Requests,
            MeasuredSeconds = Rounding.ToThousandths(traffic.Seconds),
            Iops = traffic.Seconds > 0 ? (long)(traffic.Requests / traffic.Seconds) : 0,
            AllocatedBytesPerOp = traffic.Requests > 0 ? traffic.AllocatedPerRequest : null,
        };
    }
}
