using System.Text.RegularExpressions;
using Vhost.Backend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Guests;

/// <summary>Linux guests whose kernel maps each buffer in an IOMMU of QEMU for one request alone, with devices of ours behind it.</summary>
[Collection(GuestCollection.Name)]
public sealed partial class IommuTests : IDisposable
{
    private const int Megabytes = 10;

    private static readonly TimeSpan _patience = TimeSpan.FromMinutes(3);
    private static readonly VhostUserBackendOptions _options = new() { AdditionalFeatures = VirtioFeatures.AccessPlatform };

    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [SkippableTheory]
    [InlineData(false, 512)] // Linux takes their pages from anywhere
    [InlineData(true, 256)]
    [Shows(Counterpart.Qemu, VhostUserRequest.IotlbMsg, VhostUserBackendRequest.IotlbMsg, VirtioFeatures.AccessPlatform)]
    public async Task Two_guests_behind_an_IOMMU_lose_no_ping_and_no_byte(bool packed, int ringSize)
    {
        using CancellationTokenSource stop = new();
        using NetSwitch net = new(new NetSwitchOptions { Ports = [new() { Name = "a" }, new() { Name = "b" }] });
        string[] sockets = [_folder.File("a"), _folder.File("b")];
        VhostUserBackend[] backends = [.. net.Ports.Select(port => new VhostUserBackend(port.Device, _options))];
        Task serving = Task.WhenAll(backends.Zip(sockets, (backend, socket) => backend.ListenAsync(socket, stop.Token)));
        Task<Guest>[] boots = [.. sockets.Select((socket, i) => Guest.BootAsync(new GuestCommand { HasIommu = true }.WithNetwork(socket, i + 1, packed: packed, ringSize: ringSize)))];
        await using Guest first = await boots[0];
        await using Guest second = await boots[1];
        await Task.WhenAll(UpAsync(first, 1), UpAsync(second, 2));

        await first.TryRunAsync("ping -c 1 -W 1 10.9.0.2"); // the first second
        string pings = await first.RunAsync("ping -c 200 -i 0.02 -q 10.9.0.2", _patience);
        Lost().Match(pings).Groups["lost"].Value.Should().Be("0", pings);

        await second.RunAsync("tail -f /dev/null | nc -l -p 5000 > /tmp/in &"); // whose input does not end: it would say so to the other side, which would end then
        await first.RunAsync($"dd if=/dev/urandom of=/tmp/out bs=1M count={Megabytes} 2> /dev/null");
        await first.RunAsync("until nc 10.9.0.2 5000 < /tmp/out; do sleep 0.05; done", _patience);
        await second.UntilAsync("! pidof nc > /dev/null");
        (await second.RunAsync("wc -c < /tmp/in")).Should().Be(FormattableString.Invariant($"{Megabytes << 20}"));
        (await second.RunAsync("sha256sum < /tmp/in")).Should().Be(await first.RunAsync("sha256sum < /tmp/out"));

        foreach (VhostUserBackend backend in backends)
        {
            backend.GetStatus()!.Features.Should().HaveFlag(VirtioFeatures.AccessPlatform);
            IotlbStatistics statistics = backend.GetIotlbStatistics();
            statistics.Misses.Should().BeGreaterThan(200);
            statistics.Updates.Should().BeGreaterThan(200);
            statistics.Invalidations.Should().BeGreaterThan(200);
        }

        await Task.WhenAll(first.PowerOffAsync(), second.PowerOffAsync());
        await stop.CancelAsync();
        await serving.InTime();
        foreach (VhostUserBackend backend in backends)
            await backend.DisposeAsync();
    }

    [SkippableFact]
    public async Task Files_of_a_guest_behind_an_IOMMU_are_read_as_they_were_written()
    {
        using CancellationTokenSource stop = new();
        using MemoryStorage storage = new(64 << 20);
        await using VhostUserBackend backend = new(new BlockDevice(storage), _options);
        string socket = _folder.File("s");
        Task serving = backend.ListenAsync(socket, stop.Token);
        await using (Guest guest = await Guest.BootAsync(new GuestCommand { HasIommu = true }.WithDisk(socket)))
        {
            await guest.RunAsync("modprobe virtio_blk");
            await guest.RunAsync("mkfs.ext4 -q /dev/vda && mount /dev/vda /mnt", _patience);
            await guest.RunAsync("dd if=/dev/urandom of=/mnt/f bs=1M count=16 2> /dev/null && sync", _patience);
            string written = await guest.RunAsync("sha256sum < /mnt/f");
            await guest.RunAsync("echo 3 > /proc/sys/vm/drop_caches");
            (await guest.RunAsync("sha256sum < /mnt/f", _patience)).Should().Be(written);
            IotlbStatistics statistics = backend.GetIotlbStatistics();
            statistics.Misses.Should().BeGreaterThan(100);
            statistics.Invalidations.Should().BeGreaterThan(100);
            await guest.PowerOffAsync();
        }

        await stop.CancelAsync();
        await serving.InTime();
    }

    private static async Task UpAsync(Guest guest, int number)
    {
        await guest.RunAsync("modprobe virtio_net");
        await guest.UntilAsync("[ -e /sys/class/net/eth0 ]");
        await guest.RunAsync($"ip addr add 10.9.0.{number}/24 dev eth0 && ip link set eth0 up");
    }

    [GeneratedRegex("(?<lost>[0-9]+)% packet loss", RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex Lost();
}
