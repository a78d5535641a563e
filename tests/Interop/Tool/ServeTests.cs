using System.Net.Sockets;
using System.Text.Json;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary><c>serve blk</c> as a process: sockets, signals, images.</summary>
[System.Runtime.Versioning.SupportedOSPlatform("linux")]
public sealed class ServeTests : IDisposable
{
    private readonly TempFolder _folder = new();

    private string SocketPath => _folder.File("s");

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(UnixSignal.Terminate)]
    [InlineData(UnixSignal.Interrupt)]
    public async Task Signals_end_it_cleanly_and_remove_the_socket(int signal)
    {
        await using ChildProcess server = await ToolProcess.ServeAsync("--socket-path", SocketPath, "--null", "1G", "--json");
        await using (BlockClient disk = await BlockClient.ConnectAsync(SocketPath))
        {
            await disk.ReadAsync(0, new byte[4096]);
            File.Exists(SocketPath).Should().BeTrue();
            server.Signal(signal);
            await FluentActions.Awaiting(() => disk.Completion.InTime()).Should().ThrowAsync<VhostUserDisconnectedException>();
        }

        ChildProcess.Outcome outcome = await server.EndAsync();
        outcome.ExitCode.Should().Be(0);
        ToolProcess.Parse(outcome).GetProperty("requests").GetInt64().Should().BePositive();
        File.Exists(SocketPath).Should().BeFalse();
    }

    [Fact]
    public async Task Random_numbers_are_served_as_a_device_of_its_own()
    {
        await using ChildProcess server = ToolProcess.Start("serve", "rng", "--socket-path", SocketPath, "--json");
        await server.ErrorLineAsync("serving random numbers");
        using GuestMemory memory = GuestRam.Create(1 << 20);
        using EventNotifier kick = new();
        using EventNotifier call = new();
        using DriverVirtqueue driver = DriverVirtqueue.Create(memory, default, new DriverVirtqueueOptions { Size = 8 }, VirtioFeatures.Version1);
        await using (VhostUserFrontend session = await VhostUserFrontend.ConnectAsync(SocketPath))
        {
            await session.SetFeaturesAsync(VirtioFeatures.Version1 | VirtioFeatures.VhostUserProtocolFeatures);
            await session.SetMemoryAsync(memory);
            await session.StartVringAsync(driver.Describe(0, kick, call));
            driver.TrySubmit([], [new GuestBuffer(new GuestAddress(0x8_0000), 4096)], 7).Should().BeTrue();
            if (driver.Publish())
                kick.Signal();
            DriverCompletion[] done = new DriverCompletion[1];
            await Eventually.TrueAsync(() => driver.Drain(done) == 1);
            (done[0].Token, done[0].BytesWritten).Should().Be((7UL, 4096U));
        }

        byte[] got = new byte[4096];
        using (GuestMemoryLease lease = memory.Acquire())
            lease.TryCopyTo(new GuestAddress(0x8_0000), got).Should().BeTrue();
        got.Distinct().Count().Should().BeGreaterThan(200, "all values are as likely");
        server.Signal(UnixSignal.Terminate);
        JsonElement report = ToolProcess.Parse(await server.EndAsync());
        (report.GetProperty("requests").GetInt64(), report.GetProperty("bytes").GetInt64()).Should().Be((1, 4096));
    }

    [Fact]
    public async Task Grown_image_is_announced_on_SIGHUP()
    {
        string image = _folder.Image("i", 1 << 20);
        await using ChildProcess server = await ToolProcess.ServeAsync("--socket-path", SocketPath, "--image", image);
        await using BlockClient disk = await BlockClient.ConnectAsync(SocketPath);
        disk.CapacityBytes.Should().Be(1 << 20);
        TaskCompletionSource changed = new();
        disk.ConfigChanged += (_, _) => changed.TrySetResult();
        using (FileStream file = File.Open(image, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite))
            file.SetLength(3 << 20);

        server.Signal(UnixSignal.HangUp);

        await server.ErrorLineAsync("capacity is now 3145728 bytes");
        await changed.Task.InTime();
        disk.CapacityBytes.Should().Be(3 << 20);
        await disk.WriteAsync(2 << 20, new byte[4096]);
    }

    [Fact]
    public async Task Stale_socket_is_replaced()
    {
        await using (ChildProcess killed = await ToolProcess.ServeAsync("--socket-path", SocketPath, "--null", "1G"))
        {
            killed.Signal(UnixSignal.Kill);
            await killed.EndAsync();
        }

        File.Exists(SocketPath).Should().BeTrue("SIGKILL leaves the file behind");
        await using ChildProcess server = await ToolProcess.ServeAsync("--socket-path", SocketPath, "--null", "1G");
        await using BlockClient disk = await BlockClient.ConnectAsync(SocketPath);
        disk.CapacityBytes.Should().Be(1 << 30);
    }

    [Fact]
    public async Task Live_socket_is_refused()
    {
        await using ChildProcess first = await ToolProcess.ServeAsync("--socket-path", SocketPath, "--null", "1G");

        ChildProcess.Outcome second = await ToolProcess.RunAsync("serve", "blk", "--socket-path", SocketPath, "--null", "1G");

        second.ShouldFail(exitCode: 1).Should().Contain(SocketPath).And.Contain("another process listens");
        await using BlockClient disk = await BlockClient.ConnectAsync(SocketPath);
        disk.CapacityBytes.Should().Be(1 << 30);
    }

    [Fact]
    public async Task File_that_is_no_socket_is_left_alone()
    {
        File.WriteAllText(SocketPath, "mine");

        (await ToolProcess.RunAsync("serve", "blk", "--socket-path", SocketPath, "--null", "1G")).ShouldFail(exitCode: 1).Should().Contain(SocketPath);

        File.ReadAllText(SocketPath).Should().Be("mine");
    }

    [Fact]
    public async Task Images_that_cannot_be_used_are_named()
    {
        string image = _folder.Image("i", 1 << 20);
        await using ChildProcess first = await ToolProcess.ServeAsync("--socket-path", SocketPath, "--image", image);

        (await ToolProcess.RunAsync("serve", "blk", "--socket-path", _folder.File("t"), "--image", image)).ShouldFail(1).Should().Contain(image).And.Contain("in use");
        (await ToolProcess.RunAsync("serve", "blk", "--socket-path", _folder.File("t"), "--image", _folder.File("none"))).ShouldFail(1).Should().Contain(_folder.File("none"));
        (await ToolProcess.RunAsync("serve", "blk", "--socket-path", _folder.File("t"), "--image", _folder.Image("tiny", 2)))
            .ShouldFail(1).Should().Contain(_folder.File("tiny")).And.Contain("has 2 bytes, less than one sector of 512");
        (await ToolProcess.RunAsync("serve", "blk", "--socket-path", _folder.File("t"), "--image", _folder.Image("small", 1024), "--logical-block-size", "4K"))
            .ShouldFail(1).Should().Contain(_folder.File("small")).And.Contain("less than one block");
        File.Exists(_folder.File("t")).Should().BeFalse();
    }

    [Theory]
    [InlineData(700, "512", 1024, "reads as zeroes")]
    [InlineData(10_000, "4K", 8192, "out of reach")]
    public async Task Image_of_no_whole_blocks_is_served_with_a_warning(int length, string block, long capacity, string what)
    {
        string image = _folder.Image("i", length);
        await using ChildProcess server = await ToolProcess.ServeAsync("--socket-path", SocketPath, "--image", image, "--logical-block-size", block);

        await using BlockClient disk = await BlockClient.ConnectAsync(SocketPath);

        disk.CapacityBytes.Should().Be((ulong)capacity);
        server.Errors.Should().Contain(line => line.StartsWith($"vhost-user: warning: image {image} has {length} bytes", StringComparison.Ordinal) && line.EndsWith(what, StringComparison.Ordinal));
    }

    [SkippableTheory]
    [InlineData("-Gn")]
    [InlineData("-G")]
    public async Task Socket_gets_the_group(string idOption)
    {
        string primary = await GroupsAsync(idOption.ToLowerInvariant());
        string? other = (await GroupsAsync(idOption)).Split(' ').LastOrDefault(name => name != primary);
        if (other is null && Environment.IsPrivilegedProcess)
            other = idOption == "-Gn" ? "daemon" : "1";
        Skip.If(other is null, "This user is in one group only.");

        await using ChildProcess server = await ToolProcess.ServeAsync("--socket-path", SocketPath, "--null", "1M", "--socket-group", other!, "--socket-mode", "660");

        ChildProcess.Outcome stat = await ChildProcess.RunAsync("stat", "-c", idOption == "-Gn" ? "%G %a" : "%g %a", SocketPath);
        stat.OutputText.Should().Be($"{other} 660");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_qcow2_image_is_refused_with_the_way_to_convert_it_unless_its_bytes_are_asked_for(bool raw)
    {
        string image = _folder.Image("disk.qcow2", 1 << 20);
        byte[] bytes = await File.ReadAllBytesAsync(image);
        ((byte[])[(byte)'Q', (byte)'F', (byte)'I', 0xFB]).CopyTo(bytes, 0);
        await File.WriteAllBytesAsync(image, bytes);
        string[] options = ["--socket-path", SocketPath, "--image", image];
        if (!raw)
        {
            (await ToolProcess.RunAsync(["serve", "blk", .. options])).ShouldFail(exitCode: 1).Should().Contain("is a qcow2 image").And.Contain($"qemu-img convert -O raw {image} disk.img").And.Contain("--raw");
            return;
        }

        await using ChildProcess server = await ToolProcess.ServeAsync([.. options, "--raw"]);
        (await ToolProcess.JsonAsync("blk", "info", "--socket", SocketPath)).GetProperty("config").GetProperty("capacity_bytes").GetInt64().Should().Be(1 << 20);
    }

    [Fact]
    public async Task Socket_mode_block_size_queues_and_read_only_are_in_force()
    {
        await using ChildProcess server = await ToolProcess.ServeAsync(
            "--socket-path", SocketPath, "--blk-file", _folder.Image("i", 1 << 20), "--read-only", "--socket-mode", "600", "--logical-block-size", "4K", "--num-queues", "3");

        File.GetUnixFileMode(SocketPath).Should().Be(UnixFileMode.UserRead | UnixFileMode.UserWrite);
        JsonElement config = (await ToolProcess.JsonAsync("blk", "info", "--socket", SocketPath)).GetProperty("config");
        config.GetProperty("block_size").GetInt32().Should().Be(4096);
        config.GetProperty("queues").GetInt32().Should().Be(3);
        config.GetProperty("read_only").GetBoolean().Should().BeTrue();
        (await ToolProcess.RunAsync("blk", "verify", "--socket", SocketPath)).ShouldFail(exitCode: 1).Should().Contain("read-only");
    }

    [Fact]
    public async Task Listening_descriptor_is_served()
    {
        using Socket listening = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listening.Bind(new UnixDomainSocketEndPoint(SocketPath));
        listening.Listen();
        await using ChildProcess server = await StartWithDescriptorAsync(listening.SafeHandle);
        for (int i = 0; i < 2; i++)
        {
            await using BlockClient disk = await BlockClient.ConnectAsync(SocketPath);
            disk.CapacityBytes.Should().Be(1 << 20);
        }

        (await server.TerminateAsync()).ExitCode.Should().Be(0);
        File.Exists(SocketPath).Should().BeTrue("the socket belongs to who made it");
    }

    [Fact]
    public async Task Connected_descriptor_is_served_until_the_front_end_leaves()
    {
        (VhostUserConnection ours, Microsoft.Win32.SafeHandles.SafeFileHandle theirs) = VhostUserConnection.CreatePairWithHandle("test");
        ChildProcess server;
        using (theirs)
            server = await StartWithDescriptorAsync(theirs);
        await using (server)
        {
            await using (BlockClient disk = await BlockClient.StartAsync(ours))
                await disk.WriteAsync(0, new byte[512]);

            (await server.EndAsync()).ExitCode.Should().Be(0);
        }
    }

    [Fact]
    public async Task Descriptor_of_another_kind_is_refused()
    {
        using FileStream file = File.Create(_folder.File("f"));
        using InheritableDescriptor inheritable = new(file.SafeFileHandle);

        ChildProcess.Outcome outcome = await ToolProcess.RunAsync("serve", "blk", "--fd", inheritable.Number, "--null", "1M");

        outcome.ShouldFail(exitCode: 1).Should().Contain($"--fd {inheritable.Number}");
    }

    [Fact]
    public async Task Client_mode_connects_again_and_again()
    {
        await using VhostUserListener listener = VhostUserListener.Listen(SocketPath);
        await using ChildProcess server = await ToolProcess.ServeAsync("--socket-path", SocketPath, "--client", "--memory", "1M");
        for (int i = 0; i < 2; i++)
        {
            await using BlockClient disk = await BlockClient.AcceptAsync(listener).InTime();
            await disk.WriteAsync(0, new byte[512]);
        }

        (await server.TerminateAsync()).ExitCode.Should().Be(0);
    }

    [Fact]
    public async Task Client_mode_ends_on_a_signal_while_nobody_listens()
    {
        await using ChildProcess server = await ToolProcess.ServeAsync("--socket-path", SocketPath, "--client", "--memory", "1M");

        server.Signal(UnixSignal.Interrupt);

        (await server.EndAsync()).ExitCode.Should().Be(0);
    }

    private static async Task<string> GroupsAsync(string option) => (await ChildProcess.RunAsync("id", option)).OutputText.Trim();

    private static async Task<ChildProcess> StartWithDescriptorAsync(System.Runtime.InteropServices.SafeHandle descriptor)
    {
        using InheritableDescriptor inheritable = new(descriptor);
        return await ToolProcess.ServeAsync("--fd", inheritable.Number, "--memory", "1M");
    }
}
