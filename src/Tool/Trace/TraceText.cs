using System.Globalization;
using System.Text;
using Vhost.Protocol;
using Vhost.Proxy;

namespace Vhost.Tool;

/// <summary>Messages and summaries of a trace as people read them.</summary>
internal static class TraceText
{
    private static readonly CultureInfo _culture = CultureInfo.InvariantCulture;

    /// <summary>For example <c>0.012345 F→B GET_FEATURES, 0 bytes</c>, of a reply how long it took, and of each how long it was in the proxy.</summary>
    internal static string Of(ProxyMessage message)
    {
        StringBuilder text = new(160);
        text.Append(_culture, $"{message.At.TotalSeconds,12:0.000000} {(message.From == ProxySide.FrontEnd ? "F→B" : "B→F")} ");
        if (message.Channel != VhostUserChannel.Main)
            text.Append(message.Channel == VhostUserChannel.Gpu ? "gpu: " : "back-end: ");
        text.Append(message.Text.Replace("VHOST_USER_", "", StringComparison.Ordinal));
        if (message.Descriptors.Count > 0)
            text.Append(" [").AppendJoin(", ", message.Descriptors.Select(Of)).Append(']');
        if (message.RoundTrip is { } took)
            text.Append(_culture, $" (after {took.TotalMicroseconds:0} µs)");
        text.Append(_culture, $" +{message.Held.TotalMicroseconds:0} µs");
        if (message.Change.Length > 0)
            text.Append(" → ").Append(message.Change);
        if (message.Fault.Length > 0)
            text.Append(" ** ").Append(message.Fault);
        return text.ToString();
    }

    internal static IEnumerable<(string Name, string Value)> Rows(ProxySummary summary)
    {
        NegotiatedState state = summary.Negotiated;
        yield return ("Ended", summary.End);
        foreach (string end in summary.ChannelEnds)
            yield return ("Channel ended", end);
        yield return ("Features offered", FeatureNames.Describe(state.Offered));
        yield return ("Features acknowledged", FeatureNames.Describe(state.Features));
        yield return ("Protocol features offered", FeatureNames.Describe(state.OfferedProtocol));
        yield return ("Protocol features acknowledged", FeatureNames.Describe(state.Protocol));
        foreach (ProxyRing ring in summary.Rings)
            yield return (string.Create(_culture, $"Ring {ring.Index}"), Of(ring));
        yield return ("Memory", string.Create(_culture, $"{summary.Memory.Regions} regions, {summary.Memory.Bytes >> 20} MiB"));
        yield return ("Messages", string.Create(_culture, $"{summary.Messages.FrontEnd} of the front-end, {summary.Messages.BackEnd} of the back-end, {summary.Refused} requests refused"));
        yield return ("Added by the proxy", string.Create(_culture, $"{summary.Held.Median.TotalMicroseconds:0} µs for each message (median), {summary.Held.P99.TotalMicroseconds:0} µs (99 of 100), {summary.Held.Most.TotalMicroseconds:0} µs at most"));
    }

    private static string Of(ProxyRing ring)
    {
        string size = ring.Size == 0 ? "size not said" : string.Create(_culture, $"size {ring.Size}");
        string at = ring.Base is { } said ? string.Create(_culture, $", base 0x{said:x}") : "";
        string enabled = ring.IsEnabled switch
        {
            true => ", enabled",
            false => ", disabled",
            null => "",
        };
        return $"{size}{at}, {(ring.IsStarted ? "started" : "stopped")}{enabled}";
    }

    internal static string Of(ProxyDescriptor descriptor) => descriptor.Kind switch
    {
        ProxyDescriptorKind.Memory => string.Create(_culture, $"memory {SizeText.Of(descriptor.Size)}"),
        ProxyDescriptorKind.File => string.Create(_culture, $"file {SizeText.Of(descriptor.Size)}"),
        ProxyDescriptorKind.Event => "eventfd",
        ProxyDescriptorKind.Socket => "socket",
        ProxyDescriptorKind.Pipe => "pipe",
        ProxyDescriptorKind.UserFaults => "userfaultfd",
        _ => "other",
    };
}
