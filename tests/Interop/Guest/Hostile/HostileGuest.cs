using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Interop.Tests.Guests;

/// <summary>A guest with a disk of two queues, of which it uses one, behind an <see cref="Interposer"/>; the kernel leaves the last part of its memory alone.</summary>
internal sealed class HostileGuest : IAsyncDisposable
{
    /// <summary>Memory that is the guest's and that its kernel does not know of.</summary>
    internal const ulong FreeMemory = 0x0E10_0000;

    /// <summary>The first guest address behind its memory.</summary>
    internal const ulong EndOfMemory = 0x1000_0000;

    private readonly TempFolder _folder;
    private readonly ServedDisk _disk;
    private readonly Interposer _interposer;
    private readonly Guest _guest;
    private int _words;

    private HostileGuest(TempFolder folder, ServedDisk disk, Interposer interposer, Guest guest)
    {
        _folder = folder;
        _disk = disk;
        _interposer = interposer;
        _guest = guest;
    }

    internal ServedDisk Disk => _disk;

    internal Guest Guest => _guest;

    internal static async Task<HostileGuest> BootAsync(bool packed, VhostUserProtocolFeatures hidden = VhostUserProtocolFeatures.None)
    {
        TempFolder folder = new();
        ServedDisk disk = await ServedDisk.ServeAsync(folder.Image("disk.img", 64 << 20), folder.File("s"), queues: 2);
        Interposer interposer = new(folder.File("q"), disk.Socket, hidden);
        try
        {
            Guest guest = await Guest.BootAsync(new GuestCommand { KernelOptions = "mem=225M" }.WithDisk(interposer.Socket, queues: 2, packed));
            await guest.RunAsync("modprobe virtio_blk");
            return new HostileGuest(folder, disk, interposer, guest);
        }
        catch
        {
            await interposer.DisposeAsync();
            await disk.DisposeAsync();
            folder.Dispose();
            throw;
        }
    }

    internal Task<InterposedSession> SessionAsync() => _interposer.SessionAsync();

    /// <summary>The guest writes something to its disk and reads it back from there.</summary>
    internal async Task GoesOnAsync()
    {
        string word = string.Create(CultureInfo.InvariantCulture, $"word{++_words}");
        string read = await _guest.RunAsync(
            $"echo {word} | dd of=/dev/vda bs=512 seek=100 conv=sync,fsync 2>/dev/null; echo 3 > /proc/sys/vm/drop_caches; dd if=/dev/vda bs=512 skip=100 count=1 2>/dev/null | head -n 1");
        read.Should().Be(word);
        (await _guest.RunAsync("dmesg | grep -E 'I/O error|not a head|timeout' | cat")).Should().BeEmpty();
    }

    public async ValueTask DisposeAsync()
    {
        await _guest.DisposeAsync();
        await _interposer.DisposeAsync();
        await _disk.DisposeAsync();
        _folder.Dispose();
    }
}

/// <summary>Guests that the tests of a class share, booted when the first of them needs one.</summary>
public sealed class HostileGuests : IAsyncLifetime
{
    private HostileGuest? _split;
    private HostileGuest? _packed;
    private HostileGuest? _unacknowledged;

    public Task InitializeAsync() => Task.CompletedTask;

    public async Task DisposeAsync()
    {
        if (_split is not null)
            await _split.DisposeAsync();
        if (_packed is not null)
            await _packed.DisposeAsync();
        if (_unacknowledged is not null)
            await _unacknowledged.DisposeAsync();
    }

    /// <summary>A guest whose driver has split rings, and whose back-end keeps an in-flight area.</summary>
    internal async Task<HostileGuest> SplitAsync() => _split ??= await HostileGuest.BootAsync(packed: false);

    /// <summary>Whose QEMU has not agreed on acknowledgements (REPLY_ACK).</summary>
    internal async Task<HostileGuest> UnacknowledgedAsync() => _unacknowledged ??= await HostileGuest.BootAsync(packed: false, VhostUserProtocolFeatures.ReplyAck);

    /// <summary>Without an in-flight area: a queue that is started again is a new one.</summary>
    internal async Task<HostileGuest> UntrackedAsync(bool packed) => packed
        ? _packed ??= await HostileGuest.BootAsync(packed: true, VhostUserProtocolFeatures.InflightShmFd)
        : _split ??= await HostileGuest.BootAsync(packed: false, VhostUserProtocolFeatures.InflightShmFd);
}
