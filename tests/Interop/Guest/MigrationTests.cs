using System.Globalization;
using System.Text.Json;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Guests;

/// <summary>QEMU moves a running guest with our devices: to a second QEMU, whose devices are served by other processes, and through a file.</summary>
[Collection(GuestCollection.Name)]
[Shows(
    Counterpart.Qemu, VhostUserRequest.SetLogBase, VhostUserProtocolFeatures.LogShmFd, VirtioFeatures.LogAll,
    VhostUserRequest.PostcopyAdvise, VhostUserRequest.PostcopyListen, VhostUserRequest.PostcopyEnd, VhostUserProtocolFeatures.PageFault)]
public sealed class MigrationTests : IDisposable
{
    private const long DiskSize = 256 << 20;
    private const int Files = 6;
    private const int MostLost = 25; // pings, five a second

    /// <summary>Otherwise the kernel writes to each page that it gives away, and a page that the back-end has written would be moved also without its log.</summary>
    private const string NoZeroing = "init_on_alloc=0";

    private readonly TempFolder _folder = new();

    private string Image => _folder.File("disk.img");

    public void Dispose() => _folder.Dispose();

    [SkippableTheory]
    [InlineData(1, false)]
    [InlineData(2, true)]
    public async Task A_guest_moves_to_a_second_QEMU_while_it_reads_and_writes_its_disk(int queues, bool packed)
    {
        _folder.Image("disk.img", DiskSize);
        await using ServedDisk disk = await ServedDisk.ServeAsync(Image, _folder.File("s1"), queues);
        await using ServedDisk diskThere = await ServedDisk.ServeAsync(Image, _folder.File("s2"), queues, "--no-lock");
        GuestCommand command = new() { Processors = queues, KernelOptions = NoZeroing };
        await using Guest guest = await Guest.BootAsync(command.WithDisk(disk.Socket, queues, packed).WithMemoryThatGoesLast(_folder.File("m1")));
        await UseDiskAsync(guest);

        await using Guest there = await Guest.AwaitAsync(command.WithDisk(diskThere.Socket, queues, packed).WithMemoryThatGoesLast(_folder.File("m2")));
        await MoveAsync(guest, there, $"unix:{_folder.File("move")}", () => ReadAndWriteAsync(guest));

        await disk.StopAsync();
        await FinishAsync(there);
        await diskThere.StopAsync();
        disk.Complaints.Should().BeEmpty();
        diskThere.Complaints.Should().BeEmpty();
        await ImageShouldBeWholeAsync();
    }

    [SkippableTheory]
    [InlineData(1, false)]
    [InlineData(2, true)]
    public async Task A_guest_runs_in_a_second_QEMU_before_its_memory_has_arrived_and_reads_and_writes_its_disk_there(int queues, bool packed)
    {
        _folder.Image("disk.img", DiskSize);
        await using ServedDisk disk = await ServedDisk.ServeAsync(Image, _folder.File("s1"), queues, "--postcopy");
        await using ServedDisk diskThere = await ServedDisk.ServeAsync(Image, _folder.File("s2"), queues, "--no-lock", "--postcopy");
        GuestCommand command = new() { Processors = queues, KernelOptions = NoZeroing };
        await using Guest guest = await Guest.BootAsync(command.WithDisk(disk.Socket, queues, packed));
        await UseDiskAsync(guest);
        await ReadAndWriteAsync(guest);
        await guest.RunAsync("sync");

        await using Guest there = await Guest.AwaitAsync(command.WithDisk(diskThere.Socket, queues, packed));
        (Task runs, Task arrives) = await there.Monitor.ReceiveAheadAsync($"unix:{_folder.File("move")}");
        await guest.Monitor.SendAheadAsync($"unix:{_folder.File("move")}", async () =>
        {
            await runs;
            await there.RunAsync("head -c 8000000 /dev/vda > /dev/null && dd if=/dev/zero of=/mnt/zeroes bs=4k count=20 conv=fsync && rm /mnt/zeroes");
        });
        await arrives;

        await disk.StopAsync();
        await FinishAsync(there);
        await diskThere.StopAsync();
        disk.Complaints.Should().BeEmpty();
        diskThere.Complaints.Should().BeEmpty();
        diskThere.Log.Should().Contain(line => line.Contains("its memory has not arrived yet", StringComparison.Ordinal));
        await ImageShouldBeWholeAsync();
    }

    [SkippableFact]
    public async Task A_guest_is_saved_to_a_file_and_goes_on_from_it()
    {
        _folder.Image("disk.img", DiskSize);
        await using ServedDisk disk = await ServedDisk.ServeAsync(Image, _folder.File("s"));
        GuestCommand command = new GuestCommand { KernelOptions = NoZeroing }.WithDisk(disk.Socket).WithMemoryThatGoesLast(_folder.File("m"));
        await using (Guest guest = await Guest.BootAsync(command))
        {
            await UseDiskAsync(guest);
            await guest.Monitor.SendAsync($"exec:cat > {_folder.File("state")}", () => ReadAndWriteAsync(guest));
        }

        await using Guest later = await Guest.AwaitAsync(command);
        await await later.Monitor.ReceiveAsync($"exec:cat {_folder.File("state")}");

        await FinishAsync(later);
        await disk.StopAsync();
        disk.Complaints.Should().BeEmpty();
        await ImageShouldBeWholeAsync();
    }

    [SkippableFact]
    public async Task A_guest_moves_to_another_port_of_the_switch_while_it_pings()
    {
        string[] sockets = [_folder.File("a"), _folder.File("b"), _folder.File("c")];
        await using ChildProcess server = ToolProcess.Start(["serve", "switch", .. sockets.SelectMany(socket => new[] { "--port", socket }), "--json"]);
        foreach (string socket in sockets)
            await server.ErrorLineAsync($"serving a port of the switch on {socket}");
        Task<Guest> boots = Guest.BootAsync(new GuestCommand().WithNetwork(sockets[0], 1).WithMemoryThatGoesLast(_folder.File("m1")));
        Task<Guest> otherBoots = Guest.BootAsync(new GuestCommand().WithNetwork(sockets[1], 2));
        await using Guest guest = await boots;
        await using Guest other = await otherBoots;
        await UpAsync(other, 2);
        await UpAsync(guest, 1);
        await guest.UntilAsync("ping -c 1 -W 1 10.9.0.2");
        await guest.RunAsync("{ ping -i 0.2 10.9.0.2; } > /tmp/pings 2>&1 &");
        await PingsAsync(guest, 10);

        await using Guest there = await Guest.AwaitAsync(new GuestCommand().WithNetwork(sockets[2], 1).WithMemoryThatGoesLast(_folder.File("m2")));
        await MoveAsync(guest, there, $"unix:{_folder.File("move")}", () => PingsAsync(guest, 5));

        await PingsAsync(there, 10);
        await there.RunAsync("kill -INT $(pidof ping)");
        await there.UntilAsync("grep -q transmitted /tmp/pings");
        string[] summary = (await there.RunAsync("grep transmitted /tmp/pings")).Split(' ');
        int sent = int.Parse(summary[0], CultureInfo.InvariantCulture);
        int received = int.Parse(summary[3], CultureInfo.InvariantCulture);
        (sent - received).Should().BeInRange(0, MostLost, string.Join(' ', summary));
        await Task.WhenAll(there.PowerOffAsync(), other.PowerOffAsync());
        JsonElement report = ToolProcess.Parse(await server.TerminateAsync());
        report.GetProperty("ports").EnumerateArray().Should().AllSatisfy(port => port.GetProperty("packets_from").GetInt64().Should().BePositive());
    }

    /// <summary>A file system with files whose sums are known.</summary>
    private static async Task UseDiskAsync(Guest guest)
    {
        await guest.RunAsync("modprobe virtio_blk; mkfs.ext4 -q /dev/vda; mount /dev/vda /mnt");
        await guest.RunAsync(GuestFiles.Prepare);
        await guest.RunAsync($"for i in $(seq {Files}); do {GuestFiles.WriteOne} || exit; done; cd /mnt; sha256sum f* > /tmp/sums");
    }

    /// <summary>The guest writes a file, and has the others written into its memory, where nobody looks at them before they have moved.</summary>
    private static Task<string> ReadAndWriteAsync(Guest guest) =>
        guest.RunAsync($"echo 3 > /proc/sys/vm/drop_caches; cd /mnt; for i in $(seq {Files}); do cat f$i > /dev/null; done; i={Files + 1}; {GuestFiles.WriteOne}");

    private static async Task FinishAsync(Guest guest)
    {
        await guest.RunAsync("cd /mnt; sha256sum -c /tmp/sums"); // as they came, in its memory
        await guest.RunAsync($"echo 3 > /proc/sys/vm/drop_caches; cd /mnt; sha256sum -c /tmp/sums; i={Files + 2}; {GuestFiles.WriteOne}");
        await guest.RunAsync("umount /mnt");
        (await guest.RunAsync("dmesg | grep -E 'I/O error|EXT4-fs error' | cat")).Should().BeEmpty();
        await guest.PowerOffAsync();
    }

    private static async Task MoveAsync(Guest from, Guest to, string uri, Func<Task> meanwhile)
    {
        Task arrives = await to.Monitor.ReceiveAsync(uri);
        await from.Monitor.SendAsync(uri, meanwhile);
        await arrives;
    }

    private async Task ImageShouldBeWholeAsync()
    {
        await ImageCheck.ShouldBeCleanAsync(Image);
        await ImageCheck.ExtractAsync(Image, _folder.File("files"));
        GuestFiles.ShouldBe(_folder.File("files"), 1, Files + 2);
    }

    private static async Task UpAsync(Guest guest, int number)
    {
        await guest.RunAsync("modprobe virtio_net");
        await guest.UntilAsync("[ -e /sys/class/net/eth0 ]");
        await guest.RunAsync($"ip addr add 10.9.0.{number}/24 dev eth0 && ip link set eth0 up");
    }

    private static Task<string> PingsAsync(Guest guest, int more) =>
        guest.RunAsync($"n=$(grep -c seq= /tmp/pings); until [ $(grep -c seq= /tmp/pings) -ge $((n + {more})) ]; do sleep 0.05; done");
}
