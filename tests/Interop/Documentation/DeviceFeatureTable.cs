using System.Globalization;
using System.Text;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Documentation;

/// <summary>Which feature bits of each type of device our device offers and our client asks for, each with every option set; why neither does the rest; and where it is shown.</summary>
internal static class DeviceFeatureTable
{
    private const string NotOfFiles = "BARRIER and SCSI are of legacy devices; the others tell of what a file or block device behind ours does not have or does not say: a geometry, wear, zones, safe erasure";
    private const string OfHardware = "GSO is of legacy devices, STANDBY of a card that is passed through beside; offloads are agreed on once; the others are of cards that hash, merge, coalesce or count in hardware";

    internal static void Append(StringBuilder text)
    {
        text.Append("\n### Features of devices\n\n| Device | Both halves | One half | Neither half | Tested by |\n|---|---|---|---|---|\n");
        string tests = $"{Test("Block/BlockTransferTests.cs", "The_device_is_described_as_it_is")}, {Test("Block/BlockTransferTests.cs", "Discard_and_write_zeroes_clear_ranges_longer_than_one_request_may_be")}";
        Row(text, "blk", Word<VirtioBlkFeatures>(), BlockDevices(), new BlockClientOptions().ForSession(), NotOfFiles, tests);
        tests = $"{Test("Net/NetTransferTests.cs", "Offloads_that_both_sides_do_go_through_with_their_fields")}, {Test("Net/NetControlTests.cs", "Every_command_reaches_the_device")}";
        Row(text, "net", Word<VirtioNetFeatures>(), NetDevices(), NetClients(), OfHardware, tests);
        Row(text, "console", Word<VirtioConsoleFeatures>(), ConsoleDevices(), new ConsoleClientOptions { MultiPort = true }.ForSession(), null, Test("Console/ConsoleTransferTests.cs", "A_conversation"));
        text.Append(CultureInfo.InvariantCulture, $"| rng | none: it has no bits | a device, and no client | none | {Test("Guest/EntropyTests.cs", "A_guest_reads_entropy", "QEMU")} |\n");
    }

    private static string Test(string file, string test, string with = "loopback") => File.ReadAllText(RepositoryRoot.File($"tests/Interop/{file}")).Contains($" {test}(", StringComparison.Ordinal)
        ? $"[{with}](tests/Interop/{file} \"{test}\")"
        : throw new InvalidOperationException($"{file} has no test {test}.");

    private static void Row(StringBuilder text, string type, ulong known, VirtioFeatures device, VhostUserFrontendOptions client, string? reason, string tests)
    {
        ulong offered = (ulong)device & known;
        ulong wanted = (ulong)client.WantedFeatures & known;
        string[] cells = [.. new[] { offered & wanted, offered ^ wanted, known & ~(offered | wanted) }.Select(bits => Names(bits, client.FeatureName))];
        text.Append(CultureInfo.InvariantCulture, $"| {type} | {string.Join(" | ", cells)}{(reason is null ? "" : $" ({reason})")} | {tests} |\n");
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
