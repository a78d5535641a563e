using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>Files that move fewer bytes than they are asked for, fail, or become shorter while they are served.</summary>
[Collection(ProcessCounts.Name)]
public sealed class FileFaultTests
{
    private const int Size = 1 << 20;
    private const int InputOutputError = 5;

    public static TheoryData<FileCache, FileAio> Ways => FileCacheTests.Ways;

    [SkippableTheory]
    [InlineData(FileCache.WriteBack, 512)]
    [InlineData(FileCache.WriteBack, 5632)]
    [InlineData(FileCache.WriteBack, 1000)]
    [InlineData(FileCache.WriteBack, 100)]
    [InlineData(FileCache.None, 2048)]
    public void A_transfer_that_comes_back_short_is_gone_on_with(FileCache cache, int most)
    {
        const int Length = 64 << 10;
        byte[] content = new byte[Size];
        new Random(most).NextBytes(content);
        byte[] original = [.. content];
        using FaultyFileSystem? files = FaultyFileSystem.TryMount(content, out string reason);
        Skip.If(files is null, reason);
        using BlockBench bench = new(Open(files.FilePath, cache, FileAio.Sync));
        files.MostBytes = most;
        bench.Send(VirtioBlkRequestType.In, 3, input: Length).Should().Be((VirtioBlkStatus.Ok, Length + 1u));
        bench.GetData(Length).AsSpan().SequenceEqual(original.AsSpan(1536, Length)).Should().BeTrue("every byte is the file's");
        bench.PutData(original.AsSpan(0, Length));
        bench.Send(VirtioBlkRequestType.Out, 100, output: Length).Should().Be((VirtioBlkStatus.Ok, 1u));
        original.AsSpan(0, Length).CopyTo(original.AsSpan(51200));
        content.AsSpan().SequenceEqual(original).Should().BeTrue("every byte is written, and no other");
        bench.Send(VirtioBlkRequestType.In, (Size / 512) - 1, input: 512).Status.Should().Be(VirtioBlkStatus.Ok);
        bench.GetData(512).Should().Equal(original[^512..]);
    }

    /// <summary>One call of the kernel takes fewer pieces than a request may have, which then ends anywhere in a sector.</summary>
    [SkippableTheory]
    [MemberData(nameof(Ways))]
    public void Many_pieces_of_odd_lengths_are_filled_to_the_last_byte(FileCache cache, FileAio aio)
    {
        const int Count = 342;
        const uint Piece = 3;
        using TempImage image = new(0);
        byte[] content = new byte[Size];
        new Random(2).NextBytes(content);
        File.WriteAllBytes(image.Path, content);
        using BlockBench bench = new(Open(image.Path, cache, aio), ringSize: 512);
        PageCache.Drop(image.Path);
        bench.PutHeader((uint)VirtioBlkRequestType.In, 7);
        ChainBuffer[] pieces = [.. Enumerable.Range(0, Count).Select(i => new ChainBuffer(BlockBench.DataAt + ((ulong)i * 8), i < Count - 1 ? Piece : 1u, true))];
        bench.SendChain([new(BlockBench.HeaderAt, 16, false), .. pieces, new(BlockBench.StatusAt, 1, true)]).Should().Be(1025);
        bench.Status.Should().Be(VirtioBlkStatus.Ok);
        byte[] read = [.. pieces.SelectMany(piece => bench.GetData((int)piece.Length, piece.At))];
        read.Should().Equal(content[3584..4608]);
    }

    [SkippableTheory]
    [InlineData(FileCache.WriteBack, FileAio.Sync)]
    [InlineData(FileCache.None, FileAio.Sync)]
    [InlineData(FileCache.None, FileAio.IoUring)]
    public void An_error_of_the_disk_fails_its_request_and_no_other(FileCache cache, FileAio aio)
    {
        using FaultyFileSystem? files = FaultyFileSystem.TryMount(new byte[Size], out string reason);
        Skip.If(files is null, reason);
        using LoopDevice? loop = aio == FileAio.IoUring ? LoopDevice.Attach(files.FilePath) : null;
        using BlockBench bench = new(Open(loop?.Path ?? files.FilePath, cache, aio));
        foreach (FileOperation bad in (FileOperation[])[FileOperation.Read, FileOperation.Write, FileOperation.Sync])
        {
            files.Fault = (operation, offset) => operation == bad && (operation == FileOperation.Sync || offset >= 65536) ? InputOutputError : 0;
            bench.Send(VirtioBlkRequestType.In, 0, input: 4096).Status.Should().Be(VirtioBlkStatus.Ok);
            bench.Send(VirtioBlkRequestType.In, 128, input: 4096).Should().Be(Expected(bad == FileOperation.Read, 4097));
            bench.Send(VirtioBlkRequestType.Out, 128, output: 4096).Should().Be(Expected(bad == FileOperation.Write, 1));
            bench.Send(VirtioBlkRequestType.Flush, 0).Should().Be(Expected(bad == FileOperation.Sync, 1));
            bench.Device.LastStorageError.Should().BeAssignableTo<IOException>();
        }

        files.Fault = null;
        bench.Send(VirtioBlkRequestType.In, 128, input: 4096).Status.Should().Be(VirtioBlkStatus.Ok);
        bench.Send(VirtioBlkRequestType.Flush, 0).Status.Should().Be(VirtioBlkStatus.Ok);
        bench.Device.Statistics.Failed.Should().Be(3);
    }

    [SkippableTheory]
    [InlineData(FileCache.WriteBack)]
    [InlineData(FileCache.None)]
    public void A_disk_that_takes_nothing_is_an_io_error_and_no_endless_loop(FileCache cache)
    {
        using FaultyFileSystem? files = FaultyFileSystem.TryMount(new byte[Size], out string reason);
        Skip.If(files is null, reason);
        using BlockBench bench = new(Open(files.FilePath, cache, FileAio.Sync));
        files.MostBytes = 0;
        bench.Send(VirtioBlkRequestType.Out, 0, output: 4096).Should().Be((VirtioBlkStatus.IoError, 1u));
        bench.Device.LastStorageError!.Message.Should().Contain("nothing written");
        bench.PutData(BlockRequestTests.Pattern(4096));
        bench.Send(VirtioBlkRequestType.In, 0, input: 4096).Should().Be((VirtioBlkStatus.Ok, 4097u), "the file seems to end there");
        bench.GetData(4096).Should().AllBeEquivalentTo(0);
    }

    /// <summary>A file system that can neither punch holes nor make zeroes: a discard is a wish, zeroes are written.</summary>
    [SkippableTheory]
    [InlineData(FileCache.WriteBack, FileAio.Sync)]
    [InlineData(FileCache.None, FileAio.Sync)]
    [InlineData(FileCache.None, FileAio.IoUring)]
    public void Zeroes_are_written_where_the_file_system_cannot_make_them(FileCache cache, FileAio aio)
    {
        byte[] content = new byte[Size];
        Array.Fill(content, (byte)7);
        using FaultyFileSystem? files = FaultyFileSystem.TryMount(content, out string reason);
        Skip.If(files is null, reason);
        using LoopDevice? loop = aio == FileAio.IoUring ? LoopDevice.Attach(files.FilePath) : null;
        using BlockBench bench = new(Open(loop?.Path ?? files.FilePath, cache, aio));
        uint ranges = bench.PutRanges(new VirtioBlkRange(16, 1000, VirtioBlkRangeFlags.None));
        bench.Send(VirtioBlkRequestType.Discard, 0, output: ranges).Status.Should().Be(VirtioBlkStatus.Ok);
        content.Should().NotContain((byte)0);
        bench.Send(VirtioBlkRequestType.WriteZeroes, 0, output: ranges).Status.Should().Be(VirtioBlkStatus.Ok);
        content.Count(value => value == 0).Should().Be(512_000);
        bench.Send(VirtioBlkRequestType.Flush, 0).Status.Should().Be(VirtioBlkStatus.Ok);
        content[8191].Should().Be(7);
        content[8192].Should().Be(0);
    }

    [SkippableTheory]
    [MemberData(nameof(Ways))]
    public void An_image_that_becomes_shorter_reads_as_zeroes_there_and_grows_when_it_is_written(FileCache cache, FileAio aio)
    {
        const int Left = (256 << 10) + 100;
        using TempImage image = new(0);
        byte[] content = new byte[Size];
        new Random(4).NextBytes(content);
        File.WriteAllBytes(image.Path, content);
        using FileStorage storage = Open(image.Path, cache, aio);
        using BlockBench bench = new(storage);
        using (FileStream file = new(image.Path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite))
            file.SetLength(Left);
        bench.Send(VirtioBlkRequestType.In, 511, input: 2048).Should().Be((VirtioBlkStatus.Ok, 2049u));
        bench.GetData(2048).Should().Equal([.. content[(511 * 512)..Left], .. new byte[2048 - 612]]);
        bench.Send(VirtioBlkRequestType.In, 1024, input: 4096).Should().Be((VirtioBlkStatus.Ok, 4097u));
        bench.GetData(4096).Should().AllBeEquivalentTo(0);
        bench.PutData(content.AsSpan(0, 4096));
        bench.Send(VirtioBlkRequestType.Out, 1024, output: 4096).Status.Should().Be(VirtioBlkStatus.Ok);
        File.ReadAllBytes(image.Path)[(512 << 10)..].Should().Equal(content[..4096]);
    }

    [SkippableFact]
    public void A_file_system_in_user_space_is_waited_for_and_never_left_to_io_uring()
    {
        using FaultyFileSystem? files = FaultyFileSystem.TryMount(new byte[Size], out string reason);
        Skip.If(files is null, reason);
        using (FileStorage storage = FileStorage.Open(files.FilePath))
            storage.IsAsynchronous.Should().BeFalse();
        FluentActions.Invoking(() => FileStorage.Open(files.FilePath, new FileStorageOptions { Aio = FileAio.IoUring }))
            .Should().Throw<BlockStorageException>().WithMessage($"Image {files.FilePath}: io_uring cannot be used on a file system in user space*");
    }

    private static (VirtioBlkStatus Status, uint UsedLength) Expected(bool fails, uint used) => fails ? (VirtioBlkStatus.IoError, 1) : (VirtioBlkStatus.Ok, used);

    private static FileStorage Open(string path, FileCache cache, FileAio aio) => FileCacheTests.Open(path, cache, aio);
}
