namespace Vhost.Interop.Tests.Guests;

/// <summary>What guests and their owners do to a disk beside reading and writing.</summary>
[Collection(GuestCollection.Name)]
public sealed class LifecycleTests : IDisposable
{
    private const string Word = "kept";

    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [SkippableFact]
    public async Task A_disk_lives_through_unload_unbind_reboot_and_the_reset_button()
    {
        await using ServedDisk disk = await ServedDisk.ServeAsync(_folder.Image("disk.img", 64 << 20), _folder.File("s"), queues: 2);
        await using Guest guest = await Guest.BootAsync(new GuestCommand { EndsAtReboot = false }.WithDisk(disk.Socket, queues: 2));
        await guest.RunAsync("modprobe virtio_blk");
        await WriteWordAsync(guest, "vda");

        for (int i = 0; i < 3; i++)
        {
            await guest.RunAsync("rmmod virtio_blk");
            (await guest.TryRunAsync("[ -e /dev/vda ]")).ExitCode.Should().NotBe(0, "the driver is gone");
            await guest.RunAsync("modprobe virtio_blk");
            await ShouldHaveWordAsync(guest, "vda");
        }

        for (int i = 0; i < 3; i++)
        {
            await guest.RunAsync("d=$(basename $(readlink -f /sys/block/vda/device)); echo $d > /tmp/d; echo $d > /sys/bus/virtio/drivers/virtio_blk/unbind");
            await guest.RunAsync("cat /tmp/d > /sys/bus/virtio/drivers/virtio_blk/bind");
            await ShouldHaveWordAsync(guest, "vda");
        }

        await guest.RebootAsync();
        await guest.RunAsync("modprobe virtio_blk");
        await ShouldHaveWordAsync(guest, "vda");

        await guest.Monitor.ResetAsync();
        await guest.BootedAsync();
        await guest.RunAsync("modprobe virtio_blk");
        await ShouldHaveWordAsync(guest, "vda");

        await guest.PowerOffAsync();
        await disk.StopAsync();
        disk.Complaints.Should().BeEmpty();
    }

    [SkippableFact]
    public async Task A_disk_is_plugged_and_unplugged_while_the_guest_runs()
    {
        await using ServedDisk disk = await ServedDisk.ServeAsync(_folder.Image("disk.img", 64 << 20), _folder.File("s"));
        await using Guest guest = await Guest.BootAsync(new GuestCommand().WithSlot("slot0"));
        await guest.RunAsync("modprobe virtio_blk");

        for (int i = 0; i < 3; i++)
        {
            await guest.Monitor.PlugAsync("vhost-user-blk-pci", id: "disk0", slot: "slot0", disk.Socket);
            await guest.UntilAsync("[ -b /dev/vda ]");
            if (i == 0)
                await WriteWordAsync(guest, "vda");
            await ShouldHaveWordAsync(guest, "vda");
            await guest.Monitor.UnplugAsync("disk0");
            await guest.UntilAsync("[ ! -e /dev/vda ]");
        }

        await guest.PowerOffAsync();
        await disk.StopAsync();
        disk.Complaints.Should().BeEmpty();
    }

    private static Task<string> WriteWordAsync(Guest guest, string disk) => guest.RunAsync($"echo {Word} | dd of=/dev/{disk} bs=512 seek=100 conv=sync,fsync 2>/dev/null");

    private static async Task ShouldHaveWordAsync(Guest guest, string disk)
    {
        await guest.RunAsync("echo 3 > /proc/sys/vm/drop_caches");
        (await guest.RunAsync($"dd if=/dev/{disk} bs=512 skip=100 count=1 2>/dev/null | head -n 1")).Should().Be(Word);
    }
}
