using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>
/// All kinds of requests at once, 64 at a time on each queue, against an image and a model of what it holds: each worker has a stretch of the disk of its own,
/// next to those of others, and knows every byte of it.
/// </summary>
public sealed class ImageModelTests : IDisposable
{
    private const int Depth = 64;
    private const int Stretch = 96 << 10;
    private const string Serial = "model-disk";

    private readonly TempFolder _folder = new();

    public static TheoryData<FileCache, FileAio, QueueDispatch, VirtioFeatures, int> Ways => new()
    {
        { FileCache.WriteBack, FileAio.IoUring, QueueDispatch.Async, VirtioFeatures.EventIndex, 1 },
        { FileCache.WriteBack, FileAio.IoUring, QueueDispatch.DedicatedThread, VirtioFeatures.RingPacked, 3 },
        { FileCache.None, FileAio.IoUring, QueueDispatch.Async, VirtioFeatures.RingPacked | VirtioFeatures.EventIndex, 1 },
        { FileCache.None, FileAio.IoUring, QueueDispatch.DedicatedThread, VirtioFeatures.InOrder, 3 },
        { FileCache.None, FileAio.IoUring, QueueDispatch.BusyPoll, VirtioFeatures.RingPacked | VirtioFeatures.InOrder, 1 },
        { FileCache.WriteBack, FileAio.Sync, QueueDispatch.Async, VirtioFeatures.EventIndex, 3 },
        { FileCache.None, FileAio.Sync, QueueDispatch.DedicatedThread, VirtioFeatures.RingPacked, 1 },
    };

    public void Dispose() => _folder.Dispose();

    [SkippableTheory]
    [MemberData(nameof(Ways))]
    public async Task What_is_read_is_always_what_was_written_last(FileCache cache, FileAio aio, QueueDispatch dispatch, VirtioFeatures ring, int queues)
    {
        int workers = Depth * queues;
        byte[] content = new byte[workers * Stretch];
        new Random(1).NextBytes(content);
        string path = _folder.File("i");
        File.WriteAllBytes(path, content);
        Worker[] all = [.. Enumerable.Range(0, workers).Select(index => new Worker(index, content.AsMemory(index * Stretch, Stretch)))];
        using (FileStorage storage = Open(path, cache, aio))
        {
            PageCache.Drop(path);
            BlockDeviceOptions device = new() { Queues = queues, Serial = Serial };
            BlockClientOptions client = new() { Queues = queues, RingFeatures = ring, IndirectBuffers = queues == 1 ? 4 : 0 };
            await using BlockLoopback loopback = await BlockLoopback.StartAsync(storage, client, device, dispatch);
            loopback.Client.QueueCount.Should().Be(queues);
            await Task.WhenAll(all.Select(worker => Task.Run(() => worker.RunAsync(loopback.Client, operations: 24)))).WaitAsync(TimeSpan.FromMinutes(2));
            await loopback.Client.FlushAsync();
        }

        File.ReadAllBytes(path).AsSpan().SequenceEqual(content).Should().BeTrue("the image holds what the model holds");
    }

    private static FileStorage Open(string path, FileCache cache, FileAio aio)
    {
        FileStorage storage = FileStorage.Open(path, new FileStorageOptions { Cache = cache, Aio = aio == FileAio.IoUring ? FileAio.Auto : aio });
        if (aio == FileAio.IoUring && !storage.IsAsynchronous)
        {
            storage.Dispose();
            Exception? refusal = Record.Exception(() => FileStorage.Open(path, new FileStorageOptions { Aio = FileAio.IoUring }).Dispose());
            Skip.If(refusal is BlockStorageException, refusal?.Message);
        }

        storage.IsAsynchronous.Should().Be(aio == FileAio.IoUring, "it is used where it can be");
        storage.Cache.Should().Be(cache);
        return storage;
    }

    private sealed class Worker(int index, Memory<byte> model)
    {
        private const int Sector = 512;
        private readonly Random _random = new(index);
        private readonly byte[] _buffer = new byte[Stretch];

        public async Task RunAsync(BlockClient disk, int operations)
        {
            for (int i = 0; i < operations; i++)
                await DoAsync(disk);
            await CheckAsync(disk, 0, Stretch);
        }

        private Task DoAsync(BlockClient disk)
        {
            int first = _random.Next(Stretch / Sector);
            int start = first * Sector;
            int length = _random.Next(1, (Stretch / Sector) - first + 1) * Sector;
            return _random.Next(12) switch
            {
                < 4 => WriteAsync(disk, start, length),
                < 8 => CheckAsync(disk, start, length),
                8 => disk.FlushAsync().AsTask(),
                9 => DiscardAsync(disk, start, length),
                10 => ZeroAsync(disk, start, length),
                _ => IdentifyAsync(disk),
            };
        }

        private async Task WriteAsync(BlockClient disk, int start, int length)
        {
            Memory<byte> range = model.Slice(start, length);
            _random.NextBytes(range.Span);
            if (_random.Next(2) == 0)
            {
                await disk.WriteAsync(At(start), range);
                return;
            }

            int cut = _random.Next(length + 1);
            await disk.WriteAsync(At(start), new ReadOnlyMemory<byte>[] { range[..cut], range[cut..] });
        }

        private async Task CheckAsync(BlockClient disk, int start, int length)
        {
            Memory<byte> read = _buffer.AsMemory(0, length);
            read.Span.Fill(0xA5);
            int cut = _random.Next(length + 1);
            await disk.ReadAsync(At(start), new Memory<byte>[] { read[..cut], read[cut..] });
            read.Span.SequenceEqual(model.Span.Slice(start, length)).Should().BeTrue("worker {0} reads {1} bytes at {2} as it left them", index, length, start);
        }

        /// <summary>What was given up reads as before or as zeroes, sector by sector, and from then on always so.</summary>
        private async Task DiscardAsync(BlockClient disk, int start, int length)
        {
            await disk.DiscardAsync(At(start), (ulong)length);
            await disk.ReadAsync(At(start), _buffer.AsMemory(0, length));
            for (int at = 0; at < length; at += Sector)
            {
                ReadOnlySpan<byte> read = _buffer.AsSpan(at, Sector);
                Span<byte> before = model.Span.Slice(start + at, Sector);
                (read.SequenceEqual(before) || read.IndexOfAnyExcept((byte)0) < 0).Should().BeTrue("worker {0}: sector at {1} after a discard", index, start + at);
                read.CopyTo(before);
            }
        }

        private async Task ZeroAsync(BlockClient disk, int start, int length)
        {
            model.Span.Slice(start, length).Clear();
            await disk.WriteZeroesAsync(At(start), (ulong)length, mayUnmap: _random.Next(2) == 0);
        }

        private static async Task IdentifyAsync(BlockClient disk) => (await disk.GetIdAsync()).Should().Be(Serial);

        private ulong At(int start) => ((ulong)index * Stretch) + (ulong)start;
    }
}
