using System.Globalization;
using Vhost.Protocol;
using Vhost.Tests.Support;
using Vhost.Tool;

namespace Vhost.Interop.Tests;

/// <summary>A network interface of this machine that is gone after the test: the kernel's end of a TAP interface.</summary>
/// <param name="name">The interface.</param>
internal sealed class HostInterface(string name)
{
    public string Name => name;

    /// <summary>Its address on the link.</summary>
    public MacAddress Mac
    {
        get
        {
            string[] bytes = File.ReadAllText($"/sys/class/net/{name}/address").Trim().Split(':');
            MacAddress.TryRead([.. bytes.Select(part => byte.Parse(part, NumberStyles.HexNumber, CultureInfo.InvariantCulture))], out MacAddress mac).Should().BeTrue();
            return mac;
        }
    }

    /// <summary>Makes a TAP interface; where that is not possible the test is skipped.</summary>
    /// <remarks>.ci/run knows the first words of the reason: nothing is missing that could be installed.</remarks>
    public static TapInterface OpenTap()
    {
        Peers.Require("ip", "iproute2");
        try
        {
            return TapInterface.Open("vhtest%d");
        }
        catch (ToolException refusal)
        {
            Skip.If(true, $"no TAP interfaces here: {refusal.Message} {refusal.InnerException?.Message}");
            throw;
        }
    }

    /// <summary>Gives it an address and puts it up; a second one, whose last byte is one more, is that of the station at the other end.</summary>
    /// <param name="address">Of a network with two addresses.</param>
    /// <param name="neighbour">The address on the link of the other end.</param>
    public async Task PutUpAsync(string address, MacAddress neighbour)
    {
        await IpAsync("addr", "add", $"{address}/30", "dev", name);
        await IpAsync("link", "set", name, "up");
        int dot = address.LastIndexOf('.');
        string other = string.Create(CultureInfo.InvariantCulture, $"{address[..dot]}.{int.Parse(address.AsSpan(dot + 1), CultureInfo.InvariantCulture) + 1}");
        await IpAsync("neigh", "replace", other, "lladdr", $"{neighbour}", "dev", name, "nud", "permanent");
    }

    /// <summary>Runs the command of that name.</summary>
    public static async Task IpAsync(params string[] arguments)
    {
        ChildProcess.Outcome outcome = await ChildProcess.RunAsync("ip", arguments);
        outcome.ExitCode.Should().Be(0, $"ip {string.Join(' ', arguments)} said: {string.Join(" | ", outcome.Errors)}");
    }
}
