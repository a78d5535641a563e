using System.Globalization;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Guests;

/// <summary>The back-end of a guest's disk is killed again and again while the guest writes.</summary>
[Collection(GuestCollection.Name)]
public sealed class RestartTests : IDisposable
{
    private const int Kills = 20;
    private const int MostMilliseconds = 200;
    private const int KeptFiles = 60;

    private readonly TempFolder _folder = new();
    private readonly Random _random = new(20);

    public void Dispose() => _folder.Dispose();

    [SkippableFact]
    [Shows(Counterpart.Qemu, VhostUserRequest.GetInflightFd, VhostUserRequest.SetInflightFd, VhostUserProtocolFeatures.InflightShmFd)]
    public async Task A_disk_killed_twenty_times_loses_nothing()
    {
        string image = _folder.Image("disk.img", 256 << 20);
        await using ServedDisk disk = await ServedDisk.ServeAsync(image, _folder.File("s"), queues: 2);
        await using Guest guest = await Guest.BootAsync(new GuestCommand { Processors = 2 }.WithDisk(disk.Socket, queues: 2));
        await guest.RunAsync("modprobe virtio_blk; mkfs.ext4 -q /dev/vda; mount /dev/vda /mnt");
        await guest.RunAsync(GuestFiles.Prepare);

        // Writes until it is told to stop and keeps the last files; after each it says how far it is.
        await guest.RunAsync(
            $"{{ i=1; until [ -e /tmp/stop ]; do {GuestFiles.WriteOne} || break; rm -f /mnt/f$((i - {KeptFiles})); echo $i > /tmp/next; mv /tmp/next /tmp/at; i=$((i + 1)); done; touch /tmp/stopped; }} > /tmp/log 2>&1 &");
        for (int kill = 0; kill < Kills; kill++)
        {
            await WroteMoreAsync(guest);
            await Task.Delay(_random.Next(MostMilliseconds)); // any moment will do
            await disk.KillAndServeAgainAsync();
        }

        await WroteMoreAsync(guest);
        await guest.RunAsync("touch /tmp/stop");
        await guest.UntilAsync("[ -e /tmp/stopped ]");
        (await guest.RunAsync("cat /tmp/log")).Should().BeEmpty("no write failed");
        int files = int.Parse(await guest.RunAsync("cat /tmp/at"), CultureInfo.InvariantCulture);
        await guest.RunAsync("umount /mnt");
        (await guest.RunAsync("dmesg | grep -E 'I/O error|EXT4-fs error' | cat")).Should().BeEmpty();
        await guest.PowerOffAsync();
        await disk.StopAsync();

        disk.Complaints.Should().BeEmpty();

        // The firmware, which looks for something to boot, has an area of its own before.
        disk.InflightAreas.Should().HaveCountGreaterThan(Kills, "each process is handed the area");
        disk.InflightAreas.TakeLast(Kills + 1).Distinct(StringComparer.Ordinal).Should().ContainSingle("it is always the same");
        await ImageCheck.ShouldBeCleanAsync(image);
        await ImageCheck.ExtractAsync(image, _folder.File("files"));
        files.Should().BeGreaterThan(Kills);
        GuestFiles.ShouldBe(_folder.File("files"), Math.Max(1, files - KeptFiles + 1), files);
    }

    private static Task<string> WroteMoreAsync(Guest guest) => guest.RunAsync("n=$(cat /tmp/at 2>/dev/null || echo 0); until [ $(cat /tmp/at 2>/dev/null || echo 0) -gt $n ] || [ -e /tmp/stopped ]; do sleep 0.05; done; [ ! -e /tmp/stopped ]");
}
