using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Guests;

/// <summary>A Linux guest keeps a file system on our disk.</summary>
[Collection(GuestCollection.Name)]
public sealed class DiskTests : IDisposable
{
    private const long DiskSize = 256 << 20;
    private const int Files = 12;

    private readonly TempFolder _folder = new();

    private string Image => _folder.File("disk.img");

    public void Dispose() => _folder.Dispose();

    [SkippableTheory]
    [InlineData(1, false)]
    [InlineData(4, true)]
    public async Task Files_of_a_guest_are_in_the_image(int queues, bool packed)
    {
        _folder.Image("disk.img", DiskSize);
        await using ServedDisk disk = await ServedDisk.ServeAsync(Image, _folder.File("s"), queues);
        await using Guest guest = await Guest.BootAsync(new GuestCommand { Processors = queues > 1 ? 2 : 1 }.WithDisk(disk.Socket, queues, packed));

        await guest.RunAsync("modprobe virtio_blk");
        (await guest.RunAsync("cat /sys/block/vda/size")).Should().Be("524288");
        Feature(await guest.RunAsync("cat /sys/block/vda/device/features"), bit: 34).Should().Be(packed, "RING_PACKED was asked for or not");
        await guest.RunAsync("mkfs.ext4 -q /dev/vda");
        await guest.RunAsync("mount /dev/vda /mnt");
        await guest.RunAsync(GuestFiles.Prepare);
        await guest.RunAsync($"for i in $(seq {Files}); do {GuestFiles.WriteOne} || exit; done");
        string written = await guest.RunAsync("cd /mnt; sha256sum f*");
        await guest.RunAsync("echo 3 > /proc/sys/vm/drop_caches");
        (await guest.RunAsync("cd /mnt; sha256sum f*")).Should().Be(written, "it reads from the disk what it wrote");
        await guest.RunAsync("rm /mnt/f12; sync; umount /mnt");
        await guest.PowerOffAsync();
        await disk.StopAsync();

        disk.Complaints.Should().BeEmpty();
        await ImageCheck.ShouldBeCleanAsync(Image);
        await ImageCheck.ExtractAsync(Image, _folder.File("files"));
        GuestFiles.ShouldBe(_folder.File("files"), 1, Files - 1);
        File.Exists(_folder.File("files/f12")).Should().BeFalse("it was removed");
    }

    /// <summary>What the support tables of README.md say of QEMU's disk.</summary>
    [SkippableFact]
    [Shows(
        Counterpart.Qemu,
        VhostUserRequest.GetFeatures, VhostUserRequest.SetFeatures, VhostUserRequest.SetOwner, VhostUserRequest.SetVringNum, VhostUserRequest.SetVringAddr,
        VhostUserRequest.SetVringBase, VhostUserRequest.SetVringKick, VhostUserRequest.SetVringCall, VhostUserRequest.GetProtocolFeatures,
        VhostUserRequest.SetProtocolFeatures, VhostUserRequest.SetVringEnable, VhostUserRequest.GetVringBase, VhostUserRequest.GetConfig,
        VhostUserRequest.GetMaxMemSlots, VhostUserRequest.AddMemReg, VhostUserRequest.GetQueueNum, VhostUserRequest.SetBackendReqFd,
        VhostUserProtocolFeatures.MultiQueue, VhostUserProtocolFeatures.ReplyAck, VhostUserProtocolFeatures.BackendReq, VhostUserProtocolFeatures.Config,
        VhostUserProtocolFeatures.ConfigureMemSlots, VirtioFeatures.Version1, VirtioFeatures.IndirectDescriptors, VirtioFeatures.EventIndex,
        VirtioFeatures.RingPacked)]
    public async Task Everything_that_is_claimed_of_QEMU_is_said_and_acknowledged()
    {
        _folder.Image("disk.img", DiskSize);
        await using ServedDisk disk = await ServedDisk.ServeAsync(Image, _folder.File("backend"), queues: 2);
        await using Interposer between = new(_folder.File("s"), disk.Socket);
        await using Guest guest = await Guest.BootAsync(new GuestCommand { Processors = 2 }.WithDisk(between.Socket, queues: 2, packed: true));
        await guest.RunAsync("modprobe virtio_blk; head -c 1000000 /dev/vda > /dev/null");
        InterposedSession session = await between.SessionAsync();

        await guest.PowerOffAsync();

        session.ShouldShow(Claims.OfTest<DiskTests>());
    }

    private static bool Feature(string features, int bit) => features[bit] == '1';
}
