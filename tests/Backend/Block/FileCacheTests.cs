using Microsoft.Extensions.Logging;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>An image past the page cache, and with and without io_uring.</summary>
[Collection(ProcessCounts.Name)]
public sealed class FileCacheTests
{
    private const int Size = 1 << 20;

    public static TheoryData<FileCache, FileAio> Ways => new()
    {
        { FileCache.WriteBack, FileAio.Sync },
        { FileCache.WriteBack, FileAio.IoUring },
        { FileCache.None, FileAio.Sync },
        { FileCache.None, FileAio.IoUring },
    };

    [SkippableTheory]
    [MemberData(nameof(Ways))]
    public void Buffers_at_any_address_and_of_any_length_are_read_and_written(FileCache cache, FileAio aio)
    {
        using TempImage image = new(0);
        byte[] content = new byte[Size];
        new Random(7).NextBytes(content);
        File.WriteAllBytes(image.Path, content);
        using BlockBench bench = new(Open(image.Path, cache, aio));
        (ulong, uint)[] pieces = [(BlockBench.DataAt + 3, 509), (BlockBench.DataAt + 4096, 3), (BlockBench.DataAt + 9000, 598_528)];
        bench.PutHeader((uint)VirtioBlkRequestType.In, 5);
        bench.SendChain([new(BlockBench.HeaderAt, 16, false), .. Pieces(pieces, writable: true), new(BlockBench.StatusAt, 1, true)]).Should().Be(599_041);
        bench.Status.Should().Be(VirtioBlkStatus.Ok);
        pieces.SelectMany(piece => bench.GetData((int)piece.Item2, piece.Item1)).Should().Equal(content[2560..601600]);

        bench.PutHeader((uint)VirtioBlkRequestType.Out, 600);
        bench.SendChain([new(BlockBench.HeaderAt, 16, false), .. Pieces(pieces, writable: false), new(BlockBench.StatusAt, 1, true)]).Should().Be(1);
        bench.Status.Should().Be(VirtioBlkStatus.Ok);
        bench.Send(VirtioBlkRequestType.Flush, 0).Status.Should().Be(VirtioBlkStatus.Ok);
        content[2560..601600].CopyTo(content, 307200);
        File.ReadAllBytes(image.Path).AsSpan().SequenceEqual(content).Should().BeTrue();
    }

    [SkippableTheory]
    [MemberData(nameof(Ways))]
    public void What_lies_behind_the_end_of_the_file_reads_as_zeroes(FileCache cache, FileAio aio)
    {
        using TempImage image = new(0);
        byte[] content = BlockRequestTests.Pattern(5000);
        File.WriteAllBytes(image.Path, content);
        using BlockBench bench = new(Open(image.Path, cache, aio));
        bench.Device.CapacityBytes.Should().Be(5120);
        PageCache.Drop(image.Path);
        bench.PutData(BlockRequestTests.Pattern(8192));
        bench.Send(VirtioBlkRequestType.In, 8, input: 1024).Should().Be((VirtioBlkStatus.Ok, 1025u));
        bench.GetData(1024).Should().Equal([.. content[4096..], .. new byte[120]]);
        bench.Send(VirtioBlkRequestType.In, 0, input: 0).Should().Be((VirtioBlkStatus.Ok, 1u));
        bench.Send(VirtioBlkRequestType.Out, 0, output: 0).Should().Be((VirtioBlkStatus.Ok, 1u));
    }

    [SkippableTheory]
    [MemberData(nameof(Ways))]
    public void Without_a_write_cache_everything_still_works(FileCache cache, FileAio aio)
    {
        using TempImage image = new(Size);
        using BlockBench bench = new(Open(image.Path, cache, aio), new BlockDeviceOptions { WriteCache = false });
        byte[] data = BlockRequestTests.Pattern(8192);
        bench.PutData(data);
        bench.Send(VirtioBlkRequestType.Out, 16, output: 8192).Should().Be((VirtioBlkStatus.Ok, 1u));
        File.ReadAllBytes(image.Path)[8192..16384].Should().Equal(data);
        uint ranges = bench.PutRanges(new VirtioBlkRange(16, 1, VirtioBlkRangeFlags.None), new VirtioBlkRange(18, 2, VirtioBlkRangeFlags.Unmap), new VirtioBlkRange(20, 0, 0));
        bench.Send(VirtioBlkRequestType.WriteZeroes, 0, output: ranges).Should().Be((VirtioBlkStatus.Ok, 1u));
        data.AsSpan(0, 512).Clear();
        data.AsSpan(1024, 1024).Clear();
        File.ReadAllBytes(image.Path)[8192..16384].Should().Equal(data);
    }

    [SkippableTheory]
    [InlineData(FileCache.WriteBack)]
    [InlineData(FileCache.None)]
    public void An_error_of_the_kernel_is_an_io_error_and_the_next_request_is_served(FileCache cache)
    {
        using SmallFileSystem? mount = SmallFileSystem.TryMount();
        Skip.If(mount is null, "file systems cannot be mounted here");
        string path = mount!.File("full.img", 64 << 20);
        using FileStorage storage = FileStorage.Open(path, new FileStorageOptions { Cache = cache, Aio = FileAio.IoUring });
        using BlockBench bench = new(storage);
        for (ulong sector = 0; bench.Send(VirtioBlkRequestType.Out, sector, output: 1 << 20).Status == VirtioBlkStatus.Ok; sector += 2048)
            sector.Should().BeLessThan(64 * 2048, "the file system is smaller than the file");
        bench.Status.Should().Be(VirtioBlkStatus.IoError);
        bench.Device.LastStorageError.Should().BeOfType<LinuxException>().Which.Errno.Should().Be(28, "no space is left");
        bench.Send(VirtioBlkRequestType.In, 0, input: 512).Status.Should().Be(VirtioBlkStatus.Ok);
        bench.Device.Statistics.Failed.Should().Be(1);
    }

    [Fact]
    public void Without_io_uring_requests_wait_one_after_the_other_and_that_is_logged_once()
    {
        using TempImage image = new(Size);
        LogRecorder log = new(LogLevel.Warning);
        ImageIsLoaded(image.Path);
        FileStorage storage;
        using (DescriptorLimit.Leaving(2))
            storage = FileStorage.Open(image.Path, new FileStorageOptions { LoggerFactory = log });
        storage.IsAsynchronous.Should().BeFalse();
        using BlockBench bench = new(storage);
        bench.PutData(BlockRequestTests.Pattern(512));
        bench.Send(VirtioBlkRequestType.Out, 1, output: 512).Status.Should().Be(VirtioBlkStatus.Ok);
        bench.Send(VirtioBlkRequestType.In, 1, input: 512).Status.Should().Be(VirtioBlkStatus.Ok);
        bench.Send(VirtioBlkRequestType.Flush, 0).Status.Should().Be(VirtioBlkStatus.Ok);
        log.Lines.Should().ContainSingle().Which.Should().Match($"image {image.Path}: io_uring cannot be used*EMFILE*");
    }

    [SkippableFact]
    public void A_queue_that_gets_no_ring_does_without_and_that_is_logged_once()
    {
        using TempImage image = new(Size);
        LogRecorder log = new(LogLevel.Warning);
        FileStorage storage = FileStorage.Open(image.Path, new FileStorageOptions { LoggerFactory = log });
        using BlockBench bench = new(storage);
        Skip.IfNot(storage.IsAsynchronous, "io_uring cannot be used here.");
        using (DescriptorLimit.Leaving(0))
            bench.Send(VirtioBlkRequestType.Flush, 0).Status.Should().Be(VirtioBlkStatus.Ok);
        bench.Send(VirtioBlkRequestType.Flush, 0).Status.Should().Be(VirtioBlkStatus.Ok);
        bench.Work.Should().BeOfType<LongRequest>("it does without until it starts again");
        storage.IsAsynchronous.Should().BeTrue("a shortage passes");
        using BlockBench next = new(storage);
        next.Send(VirtioBlkRequestType.Flush, 0).Status.Should().Be(VirtioBlkStatus.Ok);
        next.Work.Should().BeOfType<BlockRequests>();
        log.Lines.Should().ContainSingle().Which.Should().Match($"image {image.Path}: io_uring cannot be used*EMFILE*");
    }

    [Fact]
    public void Who_insists_on_io_uring_is_told_why_it_cannot_be()
    {
        using TempImage image = new(Size);
        ImageIsLoaded(image.Path);
        Exception? refusal;
        using (DescriptorLimit.Leaving(2))
            refusal = Record.Exception(() => FileStorage.Open(image.Path, new FileStorageOptions { Aio = FileAio.IoUring }));
        refusal.Should().BeOfType<BlockStorageException>().Which.Message.Should().Match($"Image {image.Path}: io_uring cannot be used*EMFILE*");
    }

    [SkippableFact]
    public void Files_in_memory_never_wait_and_need_no_io_uring()
    {
        Skip.IfNot(Directory.Exists("/dev/shm"), "no tmpfs here");
        string path = $"/dev/shm/vu-{Guid.NewGuid():N}.img";
        try
        {
            File.WriteAllBytes(path, new byte[Size]);
            using FileStorage storage = FileStorage.Open(path);
            storage.IsAsynchronous.Should().BeFalse();
            storage.Cache.Should().Be(FileCache.WriteBack);
        }
        finally
        {
            File.Delete(path);
        }
    }

    [SkippableFact]
    public void A_file_system_without_direct_transfers_is_refused_by_name()
    {
        const string Path = "/sys/devices/system/cpu/online";
        Skip.IfNot(File.Exists(Path), "no sysfs here");
        FluentActions.Invoking(() => FileStorage.Open(Path, new FileStorageOptions { ReadOnly = true, Lock = false, Cache = FileCache.None }))
            .Should().Throw<BlockStorageException>().WithMessage($"Image {Path}: its file system cannot be read past the page cache (O_DIRECT). Use the page cache*");
    }

    [SkippableFact]
    public void A_disk_of_larger_sectors_needs_a_larger_logical_block()
    {
        using TempImage image = new(Size);
        using LoopDevice loop = LoopDevice.Attach(image.Path, "--sector-size", "4096");
        using FileStorage storage = FileStorage.Open(loop.Path, new FileStorageOptions { Cache = FileCache.None });
        storage.RequestAlignment.Should().Be(4096);
        FluentActions.Invoking(() => new BlockDevice(storage)).Should().Throw<ArgumentException>().WithMessage("LogicalBlockSize 512:*4096*");
        using BlockBench bench = new(storage, new BlockDeviceOptions { LogicalBlockSize = 4096 });
        bench.PutData(BlockRequestTests.Pattern(4096));
        bench.Send(VirtioBlkRequestType.Out, 8, output: 4096).Status.Should().Be(VirtioBlkStatus.Ok);
        bench.Send(VirtioBlkRequestType.Flush, 0).Status.Should().Be(VirtioBlkStatus.Ok);
        File.ReadAllBytes(image.Path)[4096..8192].Should().Equal(BlockRequestTests.Pattern(4096));
    }

    internal static FileStorage Open(string path, FileCache cache, FileAio aio)
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

    private static IEnumerable<ChainBuffer> Pieces((ulong At, uint Length)[] pieces, bool writable) =>
        pieces.Select(piece => new ChainBuffer(piece.At, piece.Length, writable));

    /// <summary>What opening an image needs of the runtime is opened now, not while descriptors are short.</summary>
    private static void ImageIsLoaded(string path)
    {
        using FileStorage once = FileStorage.Open(path);
    }
}
