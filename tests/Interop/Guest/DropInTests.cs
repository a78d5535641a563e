using System.Net.Sockets;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Guests;

/// <summary>Our disk in the place of the one that <c>qemu-storage-daemon</c> exports, under the same command line of QEMU.</summary>
[Collection(GuestCollection.Name)]
public sealed class DropInTests : IDisposable
{
    private const int Queues = 4;

    private readonly TempFolder _folder = new();

    private string Image => _folder.File("disk.img");

    private string SocketPath => _folder.File("s");

    private GuestCommand Command => new GuestCommand { Processors = Queues }.WithDisk(SocketPath, Queues);

    public void Dispose() => _folder.Dispose();

    [SkippableFact]
    public async Task A_guest_sees_what_the_storage_daemon_shows_it_or_more()
    {
        _folder.Image("disk.img", 64 << 20);
        Seen theirs;
        await using (ChildProcess daemon = await StorageDaemon.ExportAsync(Image, SocketPath, Queues))
            theirs = await LookAsync();
        File.Delete(SocketPath);
        using Socket listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(SocketPath));
        listener.Listen();
        Seen ours = await LookAtOursAsync(listener);

        Missing(theirs.Features, ours.Features).Should().BeEmpty("the guest negotiates no feature less");
        ours.Queues.Should().Be(Queues).And.Be(theirs.Queues);
        ours.Size.Should().Be(theirs.Size);
        ours.BlockSize.Should().Be(theirs.BlockSize);
        ours.Segments.Should().BeGreaterThanOrEqualTo(theirs.Segments);
        ours.DiscardBytes.Should().BeGreaterThanOrEqualTo(theirs.DiscardBytes);
        ours.WriteZeroesBytes.Should().BeGreaterThanOrEqualTo(theirs.WriteZeroesBytes);
        ours.Cache.Should().Be("write back", "the guest must flush; the daemon lets it believe that it need not");
        ours.ReadOnly.Should().Be(theirs.ReadOnly);
    }

    /// <summary>The socket is somebody else's, already listening; QEMU finds it by its path.</summary>
    private async Task<Seen> LookAtOursAsync(Socket listener)
    {
        Task<ChildProcess> starting;
        using (InheritableDescriptor descriptor = new(listener.SafeHandle))
        {
            starting = ToolProcess.ServeAsync("--fd", descriptor.Number, "--image", Image, "--num-queues", FormattableString.Invariant($"{Queues}"));
            await starting;
        }

        await using ChildProcess server = await starting;
        Seen seen = await LookAsync();
        ChildProcess.Outcome outcome = await server.TerminateAsync();
        outcome.ExitCode.Should().Be(0, string.Join(" | ", outcome.Errors));
        return seen;
    }

    private async Task<Seen> LookAsync()
    {
        await using Guest guest = await Guest.BootAsync(Command);
        await guest.RunAsync("modprobe virtio_blk; cd /sys/block/vda");
        Seen seen = new(
            await guest.RunAsync("cat /sys/block/vda/device/features"),
            int.Parse(await guest.RunAsync("ls /sys/block/vda/mq | wc -l"), System.Globalization.CultureInfo.InvariantCulture),
            await NumberAsync(guest, "size"),
            await NumberAsync(guest, "queue/logical_block_size"),
            await NumberAsync(guest, "queue/max_segments"),
            await NumberAsync(guest, "queue/discard_max_bytes"),
            await NumberAsync(guest, "queue/write_zeroes_max_bytes"),
            await guest.RunAsync("cat /sys/block/vda/queue/write_cache"),
            await NumberAsync(guest, "ro"));
        await guest.RunAsync("echo 'write through' > /sys/block/vda/cache_type; echo 'write back' > /sys/block/vda/cache_type");
        (await guest.RunAsync("cat /sys/block/vda/cache_type")).Should().Be("write back", "the guest may choose");
        await guest.RunAsync("dd if=/dev/vda of=/dev/null bs=1M count=4 2>/dev/null");
        await guest.PowerOffAsync();
        return seen;
    }

    private static async Task<long> NumberAsync(Guest guest, string file) =>
        long.Parse(await guest.RunAsync($"cat /sys/block/vda/{file}"), System.Globalization.CultureInfo.InvariantCulture);

    /// <summary>Bits that one string of features has and the other does not.</summary>
    private static int[] Missing(string theirs, string ours) => [.. Enumerable.Range(0, theirs.Length).Where(bit => theirs[bit] == '1' && ours[bit] == '0')];

    private sealed record Seen(
        string Features, int Queues, long Size, long BlockSize, long Segments, long DiscardBytes, long WriteZeroesBytes, string Cache, long ReadOnly);
}
