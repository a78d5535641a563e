using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Guests;

/// <summary>Linux guests talk to each other, and to this machine, through our switch.</summary>
[Collection(GuestCollection.Name)]
public sealed class NetworkTests : IDisposable
{
    private const int Numbers = 300_000;

    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [SkippableTheory]
    [InlineData(1, false, true)]
    [InlineData(2, true, false)]
    public async Task Two_guests_exchange_data_over_tcp_both_ways_at_once(int queuesOfFirst, bool packed, bool offloadsOfSecond)
    {
        string[] sockets = [_folder.File("a"), _folder.File("b")];
        await using ChildProcess server = ToolProcess.Start(
            ["serve", "switch", .. sockets.SelectMany(socket => new[] { "--port", socket }), "--queues", FormattableString.Invariant($"{queuesOfFirst}"), "--json"]);
        foreach (string socket in sockets)
            await server.ErrorLineAsync($"serving a port of the switch on {socket}");
        Task<Guest> firstBoots = Guest.BootAsync(new GuestCommand { Processors = queuesOfFirst }.WithNetwork(sockets[0], 1, queuesOfFirst, packed));
        Task<Guest> secondBoots = Guest.BootAsync(new GuestCommand().WithNetwork(sockets[1], 2, packed: packed, offloads: offloadsOfSecond));
        await using Guest first = await firstBoots;
        await using Guest second = await secondBoots;

        string[] received = await Task.WhenAll(TalkAsync(first, self: 1, other: 2), TalkAsync(second, self: 2, other: 1));

        received.Should().Equal(ChecksumOf(2), ChecksumOf(1));
        await Task.WhenAll(first.PowerOffAsync(), second.PowerOffAsync());
        JsonElement report = ToolProcess.Parse(await server.TerminateAsync());
        report.GetProperty("learned").GetInt64().Should().BeGreaterThanOrEqualTo(2);
        JsonElement[] ports = [.. report.GetProperty("ports").EnumerateArray()];
        ports.Should().AllSatisfy(port => port.GetProperty("bytes_from").GetInt64().Should().BeGreaterThan(Numbers * 7));
        (ports[1].GetProperty("segmented").GetInt64() > 0).Should().Be(!offloadsOfSecond, "the first guest leaves segmentation to its device");
        ports[0].GetProperty("segmented").GetInt64().Should().Be(0);
        foreach (string reason in (string[])["errors", "refused", "unsegmentable", "runts"])
            ports.Should().AllSatisfy(port => port.GetProperty("dropped").GetProperty(reason).GetInt64().Should().Be(0, reason));
    }

    [SkippableFact]
    public async Task A_guest_exchanges_data_over_tcp_with_this_machine_through_a_tap_interface()
    {
        const string address = "198.18.78.1"; // of the networks for measurements (RFC 2544), which are nobody's
        HostInterface.OpenTap().Dispose();
        string socket = _folder.File("a");
        await using ChildProcess server = ToolProcess.Start("serve", "switch", "--port", socket, "--tap", "vhtest%d", "--json");
        string name = (await server.ErrorLineAsync("on TAP interface vhtest")).Split(' ')[^1];
        await HostInterface.IpAsync("addr", "add", $"{address}/30", "dev", name);
        await HostInterface.IpAsync("link", "set", name, "up");
        using TcpListener listener = new(IPAddress.Parse(address), 0);
        listener.Start();
        await using Guest guest = await Guest.BootAsync(new GuestCommand().WithNetwork(socket, 1));

        Task<string> host = TalkAsync(listener);
        string received = await TalkAsync(guest, address, ((IPEndPoint)listener.LocalEndpoint).Port);

        (received, await host.InTime()).Should().Be((ChecksumOf(2), ChecksumOf(1)));
        await guest.PowerOffAsync();
        JsonElement[] ports = [.. ToolProcess.Parse(await server.TerminateAsync()).GetProperty("ports").EnumerateArray()];
        ports.Should().HaveCount(2);
        ports[1].GetProperty("port").GetString().Should().Be(name);
        ports[1].GetProperty("tap").GetProperty("interface").GetString().Should().Be(name);
        ports[1].GetProperty("tap").GetProperty("refused_by_kernel").GetInt64().Should().Be(0);
        foreach (JsonElement port in ports)
        {
            port.GetProperty("bytes_from").GetInt64().Should().BeGreaterThan(Numbers * 7);
            (port.GetProperty("bytes_from").GetInt64() / port.GetProperty("packets_from").GetInt64()).Should().BeGreaterThan(1514, "many are longer than a frame of the link");
            port.GetProperty("segmented").GetInt64().Should().Be(0, "these pass as they are, both ways");
            port.GetProperty("dropped").GetProperty("unsegmentable").GetInt64().Should().Be(0);
        }

        File.Exists($"/sys/class/net/{name}").Should().BeFalse("the interface goes with the switch");
    }

    /// <summary>The other side of a connection from the guest: sends numbers, and ends when the guest has sent all of its own.</summary>
    private static async Task<string> TalkAsync(TcpListener listener)
    {
        using TcpClient client = await listener.AcceptTcpClientAsync();
        await using NetworkStream stream = client.GetStream();
        Task sending = stream.WriteAsync(Encoding.ASCII.GetBytes(NumbersOf(2))).AsTask();
        byte[] sum = await SHA256.HashDataAsync(stream);
        await sending;
        return Convert.ToHexStringLower(sum);
    }

    private static async Task<string> TalkAsync(Guest guest, string host, int port)
    {
        await PrepareAsync(guest, "198.18.78.2/30", 1);
        await guest.RunAsync($"nc {host} {port} < /tmp/out > /tmp/in");
        return (await guest.RunAsync("sha256sum < /tmp/in")).Split(' ')[0];
    }

    [SkippableFact]
    public async Task A_guest_whose_switch_is_killed_sees_its_link_go_and_come_again()
    {
        string socket = _folder.File("a");
        await using ChildProcess first = ToolProcess.Start("serve", "switch", "--port", socket);
        await first.ErrorLineAsync("serving a port of the switch");
        await using Guest guest = await Guest.BootAsync(new GuestCommand().WithNetwork(socket, 1));
        await guest.RunAsync("modprobe virtio_net");
        await guest.UntilAsync("[ -e /sys/class/net/eth0 ]");
        await guest.RunAsync("ip addr add 10.9.0.1/24 dev eth0 && ip link set eth0 up");
        await LinkAsync(guest, isUp: true);

        first.Signal(UnixSignal.Kill);
        await first.EndAsync();
        await LinkAsync(guest, isUp: false);
        await using ChildProcess second = ToolProcess.Start("serve", "switch", "--port", socket, "--json");
        await LinkAsync(guest, isUp: true);

        await guest.TryRunAsync("ping -c 2 -W 1 10.9.0.2"); // nobody is there, but the guest asks who is
        await guest.PowerOffAsync();
        ToolProcess.Parse(await second.TerminateAsync()).GetProperty("learned").GetInt64().Should().Be(1);
    }

    private static Task LinkAsync(Guest guest, bool isUp) => guest.UntilAsync($"[ \"$(cat /sys/class/net/eth0/carrier)\" = {(isUp ? 1 : 0)} ]");

    /// <summary>Sends what is known of this guest, receives what the other one sends, and says the checksum of that.</summary>
    private static async Task<string> TalkAsync(Guest guest, int self, int other)
    {
        await PrepareAsync(guest, $"10.9.0.{self}/24", self);
        await guest.RunAsync("tail -f /dev/null | nc -l -p 5000 > /tmp/in &"); // whose input does not end: it would say so to the other side, which would end then
        await guest.UntilAsync($"nc 10.9.0.{other} 5000 < /tmp/out");
        await guest.UntilAsync("! pidof nc > /dev/null");
        return (await guest.RunAsync("sha256sum < /tmp/in")).Split(' ')[0];
    }

    /// <summary>The card is up, and what is to be sent is in a file.</summary>
    private static async Task PrepareAsync(Guest guest, string address, int self)
    {
        await guest.RunAsync("modprobe virtio_net");
        await guest.UntilAsync("[ -e /sys/class/net/eth0 ]");
        await guest.RunAsync($"ip addr add {address} dev eth0 && ip link set eth0 up");
        await guest.RunAsync($"seq {self * Numbers} {((self + 1) * Numbers) - 1} > /tmp/out");
    }

    private static string ChecksumOf(int guest) =>
        Convert.ToHexStringLower(SHA256.HashData(Encoding.ASCII.GetBytes(NumbersOf(guest))));

    private static string NumbersOf(int guest) => string.Concat(Enumerable.Range(guest * Numbers, Numbers).Select(number => FormattableString.Invariant($"{number}\n")));
}
