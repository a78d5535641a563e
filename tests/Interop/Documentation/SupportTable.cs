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

    /// <summary>Features that stay unimplemented, and why.</summary>
    private static readonly Dictionary<VirtioFeatures, string> _notOfVhostUser = new()
    {
        [VirtioFeatures.NotifyOnEmpty] = "legacy: drivers have not asked for it since event indices",
        [VirtioFeatures.OrderPlatform] = "both sides are processes of one coherent machine; the rings' own barriers are enough",
        [VirtioFeatures.SrIov] = "of PCI, which the front-end is",
        [VirtioFeatures.NotificationData] = "a notification of vhost-user carries no data",
        [VirtioFeatures.NotificationConfigData] = "a notification of vhost-user carries no data",
        [VirtioFeatures.RingReset] = "vhost-user has no message for it; a front-end stops and starts the ring",
        [VirtioFeatures.AdminVirtqueue] = "of PCI, which the front-end is",
        [VirtioFeatures.Suspend] = "vhost-user suspends a device by stopping its rings",
    };

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
            string frontend = sentBySession.Contains(name) ? "session" : raw.Contains($"{name}Async") ? "raw" : "–";
            Row(text, contract, evidence.Cells($"{nameof(VhostUserRequest)}.{name}", frontend, served.Contains(name) ? "served" : "refused"));
        }

        text.Append("\n| Code | Message of the back-end | Front-end | Back-end | Also tested with |\n|---|---|---|---|---|\n");
        HashSet<string> handled = Names(Sources("src/Frontend/Session", "-"), BackendRequestUse());
        HashSet<string> sent = Names(Sources("src/Backend/Session", "-") + Source("src/Backend/VhostUserBackendRequests.cs"), BackendRequestUse());
        foreach (MessageContract contract in MessageContracts.All.Where(contract => contract.Channel == VhostUserChannel.Backend))
        {
            string name = ((VhostUserBackendRequest)contract.Code).ToString();
            Row(text, contract, evidence.Cells($"{nameof(VhostUserBackendRequest)}.{name}", handled.Contains(name) ? "handled" : "refused", sent.Contains(name) ? "sent" : "–"));
        }

        Features(text, evidence);
        RingFeatures(text, evidence);
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
            string frontend = (asked & feature) != 0 ? "asked for" : feature == VhostUserProtocolFeatures.XenMmap ? "no" : "on request";
            string backend = (OfferedBits.OnRequest & feature) != 0 ? "on request" : offered.Contains(feature.ToString()) ? "offered" : feature == VhostUserProtocolFeatures.XenMmap ? "no" : "not yet";
            string cells = evidence.Cells($"{nameof(VhostUserProtocolFeatures)}.{feature}", frontend, backend);
            text.Append(CultureInfo.InvariantCulture, $"| {bit} | {FeatureNames.OfProtocolBit(bit)} | {cells} | {ProtocolBitReport.AvailabilityOf(feature)} |\n");
        }
    }

    private static void RingFeatures(StringBuilder text, Evidence evidence)
    {
        HashSet<string> driver = Names(Source("src/Frontend/Block/BlockClientOptions.cs") + Source("src/Frontend/Net/NetClientOptions.cs") + Source("src/Frontend/VhostUserFrontend.Log.cs"), VirtioFeature());
        HashSet<string> device = Names(SupportedBits().Match(Source("src/Backend/OfferedBits.cs")).Value, VirtioFeature());
        text.Append("\n### Ring and transport features of virtio\n\n| Bit | Feature | Front-end | Back-end | Also tested with | Note |\n|---|---|---|---|---|---|\n");
        foreach (VirtioFeatures feature in Enum.GetValues<VirtioFeatures>().Where(feature => ulong.IsPow2((ulong)feature) && feature != VirtioFeatures.VhostUserProtocolFeatures))
        {
            int bit = int.CreateChecked(ulong.Log2((ulong)feature));
            string name = feature.ToString();
            bool onRequest = (OfferedBits.TransportBitsOnRequest & feature) != 0;
            string? reason = _notOfVhostUser.GetValueOrDefault(feature);
            string absent = onRequest ? "on request" : reason is null ? "not yet" : "no";
            string cells = evidence.Cells($"{nameof(VirtioFeatures)}.{name}", driver.Contains(name) ? "yes" : absent, device.Contains(name) ? "offered" : absent);
            text.Append(CultureInfo.InvariantCulture, $"| {bit} | {FeatureNames.OfVirtioBit(bit)} | {cells} | {reason ?? "–"} |\n");
        }
    }

    private static void Row(StringBuilder text, MessageContract contract, string cells) => text.Append(
        CultureInfo.InvariantCulture, $"| {contract.Code} | {contract.Name.Replace("VHOST_USER_", "", StringComparison.Ordinal)} | {cells} |\n");

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
