using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;
using Vhost.Tool;

namespace Vhost.Interop.Tests.Documentation;

/// <summary>Renders what is supported out of the contract table, the raw client's methods and the places where each half handles a message.</summary>
internal static partial class SupportTable
{
    private const VhostUserProtocolFeatures Rejected = VhostUserProtocolFeatures.None;

    private static readonly CultureInfo _culture = CultureInfo.InvariantCulture;

    /// <summary>When each bit that is served is offered and acknowledged.</summary>
    private static readonly Dictionary<VirtioFeatures, string> _notes = new()
    {
        [VirtioFeatures.LogAll] = "offered for every device; acknowledged while the front-end logs",
        [VirtioFeatures.AnyLayout] = "offered where the device names it; acknowledged by legacy drivers, as VERSION_1 has it in it",
        [VirtioFeatures.IndirectDescriptors] = "offered where the device names it; acknowledged by clients with IndirectBuffers",
        [VirtioFeatures.EventIndex] = "offered where the device names it; acknowledged by clients whose RingFeatures have it",
        [VirtioFeatures.Version1] = "offered where the device names it",
        [VirtioFeatures.AccessPlatform] = "on request: the front-end has an IOMMU",
        [VirtioFeatures.RingPacked] = "offered where the device names it; acknowledged by clients whose RingFeatures have it",
        [VirtioFeatures.InOrder] = "offered where the device names it; acknowledged by clients whose RingFeatures have it",
    };

    /// <summary>Bits that have no place in vhost-user, and why.</summary>
    private static readonly (VirtioFeatures Bit, string Why)[] _notOfVhostUser =
    [
        (VirtioFeatures.NotifyOnEmpty, "legacy, and of no use beside EVENT_IDX"),
        (VirtioFeatures.OrderPlatform, "both sides are processes of one coherent machine, where the rings' own barriers are enough"),
        (VirtioFeatures.SrIov, "of PCI, which the front-end is"),
        (VirtioFeatures.NotificationData, "a notification of vhost-user carries no data"),
        (VirtioFeatures.NotificationConfigData, "a notification of vhost-user carries no data"),
        (VirtioFeatures.RingReset, "there is no message for it; a front-end stops and starts the ring"),
        (VirtioFeatures.AdminVirtqueue, "of PCI, which the front-end is"),
        (VirtioFeatures.Suspend, "a device is suspended by stopping its rings"),
    ];

    internal static string Render()
    {
        StringBuilder text = new("\n### Messages\n\n| Code | Message | Front-end | Back-end | Also tested with |\n|---|---|---|---|---|\n");
        Evidence evidence = new();
        HashSet<string> served = Names(Source("src/Backend/Session/BackendSession.Dispatch.cs"), DispatchArm());
        HashSet<string> sentBySession = Names(Sources("src/Frontend", "Requests"), SessionCall());
        HashSet<string> raw = [.. typeof(VhostUserRequestClient).GetMethods().Select(method => method.Name)];
        foreach (MessageContract contract in MessageContracts.All.Where(contract => contract.Channel == VhostUserChannel.Main))
        {
            string name = ((VhostUserRequest)contract.Code).ToString();
            string? frontend = sentBySession.Contains(name) ? "session" : raw.Contains($"{name}Async") ? "raw" : null;
            Row(text, contract, evidence.Cells($"{nameof(VhostUserRequest)}.{name}", frontend, served.Contains(name) ? "served" : null));
        }

        text.Append("\n| Code | Message of the back-end | Front-end | Back-end | Also tested with |\n|---|---|---|---|---|\n");
        HashSet<string> handled = Names(Sources("src/Frontend/Session", "-"), BackendRequestUse());
        HashSet<string> sent = Names(Sources("src/Backend/Session", "-") + Source("src/Backend/VhostUserBackendRequests.cs"), BackendRequestUse());
        foreach (MessageContract contract in MessageContracts.All.Where(contract => contract.Channel == VhostUserChannel.Backend))
        {
            string name = ((VhostUserBackendRequest)contract.Code).ToString();
            Row(text, contract, evidence.Cells($"{nameof(VhostUserBackendRequest)}.{name}", handled.Contains(name) ? "handled" : null, sent.Contains(name) ? "sent" : null));
        }

        Features(text, evidence);
        RingFeatures(text, evidence);
        DeviceFeatureTable.Append(text);
        return text.ToString();
    }

    private static void Features(StringBuilder text, Evidence evidence)
    {
        VhostUserProtocolFeatures asked = new VhostUserFrontendOptions().WantedProtocolFeatures;
        HashSet<string> offered = Names(Source("src/Backend/OfferedBits.cs"), ProtocolFeature());
        text.Append("\n### Protocol features\n\n| Bit | Feature | Front-end | Back-end | Also tested with | Note |\n|---|---|---|---|---|---|\n");
        for (int bit = 0; bit < 64; bit++)
        {
            VhostUserProtocolFeatures feature = (VhostUserProtocolFeatures)(1UL << bit);
            if ((VhostUserProtocolFeatures.All & feature) == Rejected)
                continue;
            string note = ProtocolBitReport.AvailabilityOf(feature);
            bool isOfXen = feature == VhostUserProtocolFeatures.XenMmap;
            string? frontend = (asked & feature) != 0 ? "asked for" : isOfXen ? null : "on request";
            string? backend = (OfferedBits.OnRequest & feature) != 0 ? "on request" : offered.Contains(feature.ToString()) ? "offered" : null;
            string cells = evidence.Cells($"{nameof(VhostUserProtocolFeatures)}.{feature}", frontend, backend, isOfXen ? note : null);
            text.Append(_culture, $"| {bit} | {FeatureNames.OfProtocolBit(bit)} | {cells} | {note} |\n");
        }
    }

    private static void RingFeatures(StringBuilder text, Evidence evidence)
    {
        HashSet<string> driver = Names(Source("src/Frontend/Block/BlockClientOptions.cs") + Source("src/Frontend/Net/NetClientOptions.cs") + Source("src/Frontend/VhostUserFrontend.Log.cs"), VirtioFeature());
        HashSet<string> device = Names(SupportedBits().Match(Source("src/Backend/OfferedBits.cs")).Value, VirtioFeature());
        text.Append("\n### Ring and transport features of virtio\n\n| Bit | Feature | Front-end | Back-end | Also tested with | Note |\n|---|---|---|---|---|---|\n");
        foreach (VirtioFeatures feature in Enum.GetValues<VirtioFeatures>().Where(feature => ulong.IsPow2((ulong)feature) && feature != VirtioFeatures.VhostUserProtocolFeatures))
        {
            if (Array.Exists(_notOfVhostUser, row => row.Bit == feature))
                continue;
            string name = feature.ToString();
            string? absent = (OfferedBits.TransportBitsOnRequest & feature) != 0 ? "on request" : null;
            string cells = evidence.Cells($"{nameof(VirtioFeatures)}.{name}", driver.Contains(name) ? "yes" : absent, device.Contains(name) ? "offered" : absent);
            text.Append(_culture, $"| {BitOf(feature)} | {FeatureNames.OfVirtioBit(BitOf(feature))} | {cells} | {_notes[feature]} |\n");
        }

        BigEndianRow(text, evidence);
        text.Append(_culture, $"\nThese bits have no place in vhost-user, and neither half has them: {string.Join("; ", _notOfVhostUser.Select(row => $"{FeatureNames.OfVirtioBit(BitOf(row.Bit))} ({row.Why})"))}.\n");
    }

    /// <summary>No bit of virtio: a legacy device has the byte order of its guest, which a front-end tells with SET_VRING_ENDIAN.</summary>
    private static void BigEndianRow(StringBuilder text, Evidence evidence)
    {
        const string why = "no: only legacy devices of big-endian guests have such rings, and each field of a ring would be turned round for them; SET_VRING_ENDIAN 1 is refused and says so";
        text.Append(_culture, $"| none | big-endian legacy rings | no | no | {evidence.Others($"{nameof(VhostUserRequest)}.{nameof(VhostUserRequest.SetVringEndian)}")} | {why} |\n");
    }

    private static int BitOf(VirtioFeatures feature) => int.CreateChecked(ulong.Log2((ulong)feature));

    private static void Row(StringBuilder text, MessageContract contract, string cells) => text.Append(
        _culture, $"| {contract.Code} | {contract.Name.Replace("VHOST_USER_", "", StringComparison.Ordinal)} | {cells} |\n");

    private static HashSet<string> Names(string source, Regex pattern) => [.. pattern.Matches(source).Select(match => match.Groups["name"].Value)];

    private static string Source(string path) => File.ReadAllText(RepositoryRoot.File(path.Split('/')));

    private static string Sources(string folder, string without) => string.Join('\n', Directory
        .EnumerateFiles(RepositoryRoot.File(folder.Split('/')), "*.cs", SearchOption.AllDirectories)
        .Where(path => !path.Contains($"/{without}/", StringComparison.Ordinal) && !path.Contains("/obj/", StringComparison.Ordinal))
        .Select(File.ReadAllText));

    [GeneratedRegex(@"VhostUserRequest\.(?<name>\w+) (?:or|=>|when)", RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex DispatchArm();

    [GeneratedRegex(@"[Rr]equests\s*\.(?<name>\w+?)Async\(", RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex SessionCall();

    [GeneratedRegex(@"VhostUserBackendRequest\.(?<name>\w+)", RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex BackendRequestUse();

    [GeneratedRegex(@"(?<!\w)VirtioFeatures\.(?<name>\w+)", RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex VirtioFeature();

    [GeneratedRegex("SupportedTransportBits = [^;]*;", RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex SupportedBits();

    [GeneratedRegex(@"VhostUserProtocolFeatures\.(?<name>\w+)", RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex ProtocolFeature();
}
