using Vhost.Protocol;
using Vhost.Proxy;

namespace Vhost.Tool;

/// <summary>A message of a trace for <c>--json</c>. Times in microseconds.</summary>
/// <remarks>Not the line of a recording: that is a file format, which says no more than is played again and leaves out zeros; this has the names of all <c>--json</c>, and what the proxy has found out (name, round trip, held, change).</remarks>
internal sealed record TracedMessageReport
{
    public required long Number { get; init; }

    public required int Session { get; init; }

    public required string Channel { get; init; }

    public required string From { get; init; }

    public required double At { get; init; }

    public required string Name { get; init; }

    public required uint Request { get; init; }

    public required uint Flags { get; init; }

    public required uint Size { get; init; }

    public required string Payload { get; init; }

    public required IReadOnlyList<string> Descriptors { get; init; }

    public required string Text { get; init; }

    public long? Answers { get; init; }

    public double? RoundTrip { get; init; }

    public required double Held { get; init; }

    public string? Change { get; init; }

    public string? Fault { get; init; }

    internal static TracedMessageReport Of(ProxyMessage message) => new()
    {
        Number = message.Number,
        Session = message.Session,
        Channel = message.Channel == VhostUserChannel.Backend ? "back-end" : message.Channel.ToString().ToLowerInvariant(),
        From = message.From == ProxySide.FrontEnd ? "front-end" : "back-end",
        At = message.At.TotalMicroseconds,
        Name = MessageContracts.NameOf(message.Channel, message.Header.Request),
        Request = message.Header.Request,
        Flags = (uint)message.Header.Flags,
        Size = message.Header.PayloadSize,
        Payload = Convert.ToHexStringLower(message.Payload.Span),
        Descriptors = [.. message.Descriptors.Select(TraceText.Of)],
        Text = message.Text,
        Answers = message.Answers,
        RoundTrip = message.RoundTrip?.TotalMicroseconds,
        Held = message.Held.TotalMicroseconds,
        Change = message.Change.Length == 0 ? null : message.Change,
        Fault = message.Fault.Length == 0 ? null : message.Fault,
    };
}
