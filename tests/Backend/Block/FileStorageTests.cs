using System.Diagnostics;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

public sealed class FileStorageTests
{
    private const int Length = 8192;

    [Fact]
    public void Requests_reach_the_file()
    {
        using TempImage image = new(1 << 20);
        using BlockBench bench = new(FileStorage.Open(image.Path));
        byte[] data = BlockRequestTests.Pattern(Length);
        bench.PutData(data);
        bench.Send(VirtioBlkRequestType.Out, 5, output: Length).Status.Should().Be(VirtioBlkStatus.Ok);
        bench.Send(VirtioBlkRequestType.Flush, 0).Status.Should().Be(VirtioBlkStatus.Ok);
        File.ReadAllBytes(image.Path)[2560..(2560 + Length)].Should().Equal(data);
        bench.PutData(new byte[Length]);
        bench.Send(VirtioBlkRequestType.In, 5, input: Length).Should().Be((VirtioBlkStatus.Ok, Length + 1u));
        bench.GetData(Length).Should().Equal(data);
    }

    [Theory]
    [InlineData(VirtioBlkRequestType.Discard, VirtioBlkRangeFlags.None)]
    [InlineData(VirtioBlkRequestType.WriteZeroes, VirtioBlkRangeFlags.None)]
    [InlineData(VirtioBlkRequestType.WriteZeroes, VirtioBlkRangeFlags.Unmap)]
    public void Ranges_become_zeroes_in_the_file(VirtioBlkRequestType type, VirtioBlkRangeFlags flags)
    {
        using TempImage image = new(1 << 20);
        byte[] content = BlockRequestTests.Pattern(1 << 20);
        File.WriteAllBytes(image.Path, content);
        using BlockBench bench = new(FileStorage.Open(image.Path));
        bench.Send(type, 0, output: bench.PutRanges(new VirtioBlkRange(3, 300, flags))).Status.Should().Be(VirtioBlkStatus.Ok);
        content.AsSpan(3 * 512, 300 * 512).Clear();
        File.ReadAllBytes(image.Path).AsSpan().SequenceEqual(content).Should().BeTrue();
    }

    [Fact]
    public void A_tail_shorter_than_a_sector_reads_as_zeroes_and_can_be_written()
    {
        using TempImage image = new(700);
        using BlockBench bench = new(FileStorage.Open(image.Path));
        bench.Device.CapacityBytes.Should().Be(1024);
        bench.PutData(BlockRequestTests.Pattern(1024));
        bench.Send(VirtioBlkRequestType.In, 0, input: 1024).Should().Be((VirtioBlkStatus.Ok, 1025u));
        bench.GetData(1024).Should().AllBeEquivalentTo(0);
        bench.Send(VirtioBlkRequestType.Out, 1, output: 512).Status.Should().Be(VirtioBlkStatus.Ok);
        new FileInfo(image.Path).Length.Should().Be(1024);
    }

    [Fact]
    public void A_grown_image_is_noticed()
    {
        using TempImage image = new(1 << 20);
        using FileStorage storage = FileStorage.Open(image.Path);
        using (FileStream file = new(image.Path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite))
            file.SetLength(3 << 20);
        storage.Length.Should().Be(1 << 20);
        storage.RefreshLength().Should().Be(3 << 20);
        storage.Length.Should().Be(3 << 20);
    }

    [Fact]
    public void Images_that_cannot_be_used_are_named_with_the_reason_and_what_to_do()
    {
        string missing = Path.Combine(Path.GetTempPath(), "no-such-image.img");
        Refused(missing, $"Image {missing}: does not exist. *truncate*");
        Refused("/no-such-folder/x.img", "Image /no-such-folder/x.img: does not exist.*");
        Refused(Path.GetTempPath(), $"Image {Path.GetTempPath()}: is a directory.*");
        Refused("/dev/null", "Image /dev/null: neither a regular file nor a block device (CharacterDevice).*");
        using TempImage empty = new(0);
        Refused(empty.Path, $"Image {empty.Path}: is empty. *truncate*");
    }

    /// <summary>Served as if it were raw, the first write of a guest would destroy it.</summary>
    [Theory]
    [InlineData("qcow2", 0, "514649FB00000003")]
    [InlineData("qed", 0, "51454400")]
    [InlineData("vmdk", 0, "4B444D5601000000")]
    [InlineData("vmdk", 0, "434F574401000000")]
    [InlineData("vmdk", 0, "23204469736B2044657363726970746F7246696C65")]
    [InlineData("vhdx", 0, "7668647866696C65")]
    [InlineData("vpc", 0, "636F6E6563746978")]
    [InlineData("vdi", 0x40, "7F10DABE")]
    [InlineData("parallels", 0, "576974686F757446726565537061636500")]
    [InlineData("parallels", 0, "576974686F7546726553706163457874")]
    public void An_image_of_another_format_is_refused_unless_its_bytes_are_asked_for(string format, int offset, string signature)
    {
        using TempImage image = new(1 << 20);
        byte[] bytes = new byte[1 << 20];
        Convert.FromHexString(signature).CopyTo(bytes, offset);
        File.WriteAllBytes(image.Path, bytes);

        Refused(image.Path, $"Image {image.Path}: is a {format} image, *. Convert it (qemu-img convert -O raw {image.Path} disk.img), or *--raw*");
        FluentActions.Invoking(() => FileStorage.Open(image.Path, new FileStorageOptions { ReadOnly = true }).Dispose()).Should().Throw<BlockStorageException>();

        using (FileStorage.Open(image.Path, new FileStorageOptions { Raw = true }))
            File.ReadAllBytes(image.Path).Should().Equal(bytes);
        bytes[offset] ^= 1;
        File.WriteAllBytes(image.Path, bytes);
        FileStorage.Open(image.Path).Dispose();
    }

    [Fact]
    public void A_writer_and_anybody_else_refuse_each_other()
    {
        using TempImage image = new(1 << 20);
        using (FileStorage writer = FileStorage.Open(image.Path))
        {
            Refused(image.Path, $"Image {image.Path}: in use*open for writing*Stop that process*");
            Refused(image.Path, $"Image {image.Path}: in use*open for writing*", readOnly: true);
        }

        using FileStorage reader = FileStorage.Open(image.Path, new FileStorageOptions { ReadOnly = true });
        using FileStorage second = FileStorage.Open(image.Path, new FileStorageOptions { ReadOnly = true });
        Refused(image.Path, $"Image {image.Path}: in use*lets nobody else write*read-only on both sides*");
        using FileStorage unlocked = FileStorage.Open(image.Path, new FileStorageOptions { Lock = false });
    }

    [SkippableFact]
    public void An_image_that_we_serve_is_refused_by_qemu()
    {
        string qemuIo = Peers.Require("qemu-io", "qemu-utils");
        using TempImage image = new(1 << 20);
        using (FileStorage writer = FileStorage.Open(image.Path))
        {
            Run(qemuIo, "-f", "raw", "-c", "write 0 512", image.Path).Should().Contain("lock");
            Run(qemuIo, "-f", "raw", "-r", "-c", "read 0 512", image.Path).Should().Contain("512", "a reader that tolerates writers is tolerated");
        }

        using (FileStorage reader = FileStorage.Open(image.Path, new FileStorageOptions { ReadOnly = true }))
        {
            Run(qemuIo, "-f", "raw", "-c", "write 0 512", image.Path).Should().Contain("lock");
            Run(qemuIo, "-f", "raw", "-r", "-c", "read 0 512", image.Path).Should().Contain("512");
        }

        Run(qemuIo, "-f", "raw", "-c", "write 0 512", image.Path).Should().Contain("wrote 512/512");
    }

    [SkippableFact]
    public async Task An_image_that_qemu_serves_is_refused_by_us()
    {
        string daemon = Peers.Require("qemu-storage-daemon", "qemu-system-common");
        using TempImage image = new(1 << 20);
        using TempSocket socket = new();
        using Process process = Start(
            daemon,
            "--blockdev", $"driver=file,node-name=d0,filename={image.Path}",
            "--export", $"type=vhost-user-blk,id=e0,node-name=d0,addr.type=unix,addr.path={socket.Path},writable=on");
        try
        {
            await Eventually.TrueAsync(() => socket.Exists);
            Refused(image.Path, $"Image {image.Path}: in use, another process has it open for writing*");
        }
        finally
        {
            process.Kill();
            process.WaitForExit();
        }

        using FileStorage free = FileStorage.Open(image.Path);
    }

    private static void Refused(string path, string message, bool readOnly = false) =>
        FluentActions.Invoking(() => FileStorage.Open(path, new FileStorageOptions { ReadOnly = readOnly }))
            .Should().Throw<BlockStorageException>().WithMessage(message).Which.Path.Should().Be(path);

    private static Process Start(string program, params string[] arguments) =>
        Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true, UseShellExecute = false })!;

    private static string Run(string program, params string[] arguments)
    {
        using Process process = Start(program, arguments);
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        string errors = process.StandardError.ReadToEnd();
        process.WaitForExit();
        return output.Result + errors;
    }
}
