using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Guests;

/// <summary>A guest's QEMU is killed while the guest writes, and another guest takes the disk.</summary>
[Collection(GuestCollection.Name)]
public sealed class DyingGuestTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [SkippableFact]
    public async Task B38_A_guest_that_dies_in_the_middle_leaves_nothing_behind_and_a_sound_file_system()
    {
        string image = _folder.Image("disk.img", 128 << 20);
        await using ServedDisk disk = await ServedDisk.ServeAsync(image, _folder.File("s"), queues: 2);
        int most = 0;
        GuestCommand command = new GuestCommand().WithDisk(disk.Socket, queues: 2);
        for (int death = 0; death < 3; death++)
        {
            await using (Guest guest = await Guest.BootAsync(command))
            {
                await guest.RunAsync("modprobe virtio_blk");
                if (death == 0)
                    await guest.RunAsync("mkfs.ext4 -q /dev/vda");
                await guest.RunAsync("mount /dev/vda /mnt; echo kept > /mnt/kept; sync");
                await guest.RunAsync("(while :; do dd if=/dev/urandom of=/mnt/f bs=4k count=200 conv=fsync; done) > /dev/null 2>&1 &");
                await guest.UntilAsync("[ -e /mnt/f ]");
            }

            await Eventually.TrueAsync(() => disk.Mappings == 0);
            if (death == 0)
                most = disk.Descriptors;
            await Eventually.TrueAsync(() => disk.Descriptors <= most);
        }

        await using Guest last = await Guest.BootAsync(command);
        await last.RunAsync("modprobe virtio_blk; mount /dev/vda /mnt");
        (await last.RunAsync("cat /mnt/kept")).Should().Be("kept");
        await last.RunAsync("umount /mnt");
        await last.PowerOffAsync();
        await disk.StopAsync();
        await ImageCheck.ShouldBeCleanAsync(image);
    }
}
