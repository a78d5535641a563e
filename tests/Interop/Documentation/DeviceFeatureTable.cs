using System.Globalization;
using System.Text;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;

namespace Vhost.Interop.Tests.Documentation;

/// <summary>Which feature bits of each type of device our device offers and our client asks for, each with every option set.</summary>
internal static class DeviceFeatureTable
{
    internal static void Append(StringBuilder text)
    {
        text.Append("\n### Features of devices\n\n| Device | Both halves | One half | Neither half | Tested by |\n|---|---|---|---|---|\n");
        Row(text, "blk", Word<VirtioBlkFeatures>(), BlockDevices(), new BlockClientOptions().ForSession(), "Block/BlockTransferTests.cs");
        Row(text, "net", Word<VirtioNetFeatures>(), NetDevices(), NetClients(), "Net/NetTransferTests.cs");
        Row(text, "console", Word<VirtioConsoleFeatures>(), ConsoleDevices(), new ConsoleClientOptions { MultiPort = true }.ForSession(), "Console/ConsoleTransferTests.cs");
        text.Append("| rng | none: it has no bits | a device, and no client | none | [QEMU](tests/Interop/Guest/EntropyTests.cs) |\n");
    }

    private static void Row(StringBuilder text, string type, ulong known, VirtioFeatures device, VhostUserFrontendOptions client, string tests)
    {
        ulong offered = (ulong)device & known;
        ulong wanted = (ulong)client.WantedFeatures & known;
        string[] cells = [.. new[] { offered & wanted, offered ^ wanted, known & ~(offered | wanted) }.Select(bits => Names(bits, client.FeatureName))];
        text.Append(CultureInfo.InvariantCulture, $"| {type} | {string.Join(" | ", cells)} | [loopback](tests/Interop/{tests}) |\n");
    }

    private static VirtioFeatures BlockDevices() => new BlockDevice(new NullStorage(1 << 20)).Features
        | new BlockDevice(new NullStorage(1 << 20), new BlockDeviceOptions { ReadOnly = true }).Features;

    private static VirtioFeatures NetDevices() =>
        new NetDevice(new NetDeviceOptions { ControlQueue = true, Offloads = NetDeviceOptions.AllOffloads, Mtu = 1500, Speed = 1000 }).Features;

    private static VhostUserFrontendOptions NetClients() =>
        new NetClientOptions { ControlQueue = true, Offloads = NetClientOptions.AllOffloads }.ForSession();

    private static VirtioFeatures ConsoleDevices() => new ConsoleDevice(new ConsoleDeviceOptions { MultiPort = true, Size = new ConsoleSize(80, 25) }).Features;

    private static ulong Word<T>()
        where T : struct, Enum => Enum.GetValues<T>().Aggregate(0UL, static (word, bit) => word | Convert.ToUInt64(bit, CultureInfo.InvariantCulture));

    private static string Names(ulong bits, Func<int, string> nameOfBit) =>
        bits == 0 ? "none" : string.Join(", ", Enumerable.Range(0, 64).Where(bit => (bits >> bit & 1) != 0).Select(nameOfBit));
}
