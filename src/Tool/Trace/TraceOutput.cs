using Vhost.Proxy;

namespace Vhost.Tool;

/// <summary>Where a trace goes: lines on standard output, and files.</summary>
internal sealed class TraceOutput : IDisposable
{
    private readonly RecordingWriter? _recording;
    private readonly PcapNgWriter? _capture;
    private readonly bool _json;

    private TraceOutput(RecordingWriter? recording, PcapNgWriter? capture, bool json) => (_recording, _capture, _json) = (recording, capture, json);

    internal static TraceOutput Open(string? record, string? pcap, bool json)
    {
        RecordingWriter? recording = record is null ? null : new RecordingWriter(File.Create(record));
        try
        {
            return new TraceOutput(recording, pcap is null ? null : new PcapNgWriter(File.Create(pcap), DateTimeOffset.UtcNow), json);
        }
        catch
        {
            recording?.Dispose();
            throw;
        }
    }

    internal void Show(ProxyMessage message)
    {
        _recording?.Write(message);
        _capture?.Write(message);
        if (_json)
            ToolOutput.PrintJson(TracedMessageReport.Of(message), ToolJson.Default.TracedMessageReport);
        else
            ToolOutput.PrintLine(TraceText.Of(message));
    }

    internal void Show(ProxySummary summary)
    {
        if (_json)
            ToolOutput.PrintJson(TraceSummaryReport.Of(summary), ToolJson.Default.TraceSummaryReport);
        else
            ToolOutput.PrintTable($"Connection {summary.Session}", TraceText.Rows(summary));
    }

    public void Dispose()
    {
        _recording?.Dispose();
        _capture?.Dispose();
    }
}
