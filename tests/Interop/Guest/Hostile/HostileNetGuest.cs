using System.Globalization;
using Vhost.Backend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Guests;

/// <summary>
/// A guest with a network card of one pair of queues, behind an <see cref="Interposer"/>. The device is in this process and has two pairs; the kernel leaves the last part of its memory alone, where the rings of the
/// second pair lie.
/// </summary>
internal sealed class HostileNetGuest : IAsyncDisposable
{
    /// <summary>The second pair.</summary>
    internal const uint ToGuestQueue = 2, FromGuestQueue = 3;

    /// <summary>Without a control queue: it would be queue 2 for a driver with one pair.</summary>
    private const string Card = "virtio-net-pci,netdev=n0,vectors=0,mac=52:54:00:00:00:01,ctrl_vq=off,ctrl_rx=off,ctrl_rx_extra=off,ctrl_vlan=off,ctrl_mac_addr=off,ctrl_guest_offloads=off,guest_announce=off";

    private readonly TempFolder _folder = new();
    private readonly CancellationTokenSource _stop = new();
    private readonly PacketPool _pool = new(64);
    private readonly VhostUserBackend _backend;
    private readonly Task _serving;
    private readonly Interposer _interposer;
    private Guest _guest = null!;

    private HostileNetGuest()
    {
        _backend = new VhostUserBackend(Device);
        _serving = _backend.ListenAsync(_folder.File("s"), _stop.Token);
        _interposer = new Interposer(_folder.File("q"), _folder.File("s"), VhostUserProtocolFeatures.None);
    }

    internal NetDevice Device { get; } = new(new NetDeviceOptions { QueuePairs = 2, Offloads = NetDeviceOptions.AllOffloads });

    internal static async Task<HostileNetGuest> BootAsync()
    {
        HostileNetGuest all = new();
        try
        {
            all._guest = await Guest.BootAsync(new GuestCommand { KernelOptions = "mem=225M" }.With(
                "-chardev", $"socket,id=net0,path={all._interposer.Socket},reconnect=1", "-netdev", "vhost-user,id=n0,chardev=net0", "-device", Card));
            await all._guest.RunAsync("modprobe virtio_net");
            await all._guest.UntilAsync("[ -e /sys/class/net/eth0 ]");
            await all._guest.RunAsync("ip addr add 10.9.0.1/24 dev eth0 && ip link set eth0 up");
            return all;
        }
        catch
        {
            await all.DisposeAsync();
            throw;
        }
    }

    internal Task<InterposedSession> SessionAsync() => _interposer.SessionAsync();

    /// <summary>Buffers to receive into, or to send from.</summary>
    internal PacketBuffer[] Rent(int count)
    {
        PacketBuffer[] packets = new PacketBuffer[count];
        _pool.RentBurst(packets).Should().Be(count);
        return packets;
    }

    internal void Return(PacketBuffer[] packets) => _pool.ReturnBurst(packets);

    /// <summary>Gives a pair a packet of so many bytes, as soon as the pair takes one.</summary>
    internal async Task GiveAsync(NetPort port, int length)
    {
        PacketBuffer[] packet = Rent(1);
        packet[0].TryCopyFrom(SwitchStation.Frame(MacAddress.Broadcast, SwitchStation.AddressOf(9), number: 1, length)).Should().BeTrue();
        await Eventually.TrueAsync(() => port.EnqueueBurst(packet) == 1);
        Return(packet);
    }

    /// <summary>The guest receives, and sends.</summary>
    internal async Task GoesOnAsync()
    {
        const string count = "cat /sys/class/net/eth0/statistics/rx_packets";
        long before = long.Parse(await _guest.RunAsync(count), CultureInfo.InvariantCulture);
        await GiveAsync(Device.Ports[0], length: 60);
        await _guest.UntilAsync(string.Create(CultureInfo.InvariantCulture, $"[ $({count}) -gt {before} ]"));

        Task<string> asking = _guest.RunAsync("ping -c 1 -W 1 10.9.0.9 > /dev/null 2>&1 || true");
        PacketBuffer[] got = Rent(16);
        await Eventually.TrueAsync(() => got.AsSpan(0, Device.Ports[0].DequeueBurst(got)).ToArray().Any(IsArp), "the guest asks who has an address");
        Return(got);
        await asking;
    }

    public async ValueTask DisposeAsync()
    {
        if (_guest is not null)
            await _guest.DisposeAsync();
        await _interposer.DisposeAsync();
        await _stop.CancelAsync();
        await _serving.WaitAsync(TimeSpan.FromSeconds(20));
        await _backend.DisposeAsync();
        _stop.Dispose();
        _folder.Dispose();
    }

    private static bool IsArp(PacketBuffer packet)
    {
        const int kind = 12;
        byte[] bytes = new byte[packet.PacketLength];
        packet.CopyTo(bytes);
        return bytes.Length > kind + 1 && (bytes[kind], bytes[kind + 1]) == (8, 6);
    }
}

/// <summary>A guest that the tests of a class share, booted when the first of them needs it.</summary>
public sealed class HostileNetGuests : IAsyncLifetime
{
    private HostileNetGuest? _guest;

    public Task InitializeAsync() => Task.CompletedTask;

    public async Task DisposeAsync()
    {
        if (_guest is not null)
            await _guest.DisposeAsync();
    }

    internal async Task<HostileNetGuest> GuestAsync() => _guest ??= await HostileNetGuest.BootAsync();
}
