using System.Text.Json;

namespace Vhost.Proxy;

/// <summary>Writes messages as lines of JSON, each as soon as it has passed, so that a recording is good up to whatever ends it.</summary>
/// <remarks>Threading: one call at a time.</remarks>
public sealed class RecordingWriter : IDisposable
{
    private readonly Stream _stream;

    /// <summary>Begins a recording.</summary>
    /// <param name="stream">Where it goes. Owned from here on.</param>
    public RecordingWriter(Stream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        _stream = stream;
        Write(new RecordedLine { Format = RecordingText.Format, Version = RecordingText.Version });
    }

    /// <summary>Adds a message.</summary>
    /// <exception cref="IOException">It cannot be written.</exception>
    public void Write(ProxyMessage message)
    {
        ArgumentNullException.ThrowIfNull(message);
        Write(new RecordedLine
        {
            Number = message.Number,
            Session = message.Session,
            Channel = RecordingText.Of(message.Channel),
            From = RecordingText.Of(message.From),
            Microseconds = (long)message.At.TotalMicroseconds,
            Request = message.Header.Request,
            Flags = (uint)message.Header.Flags,
            Size = message.Header.PayloadSize,
            Payload = Convert.ToHexStringLower(message.Payload.Span),
            Descriptors = [.. message.Descriptors.Select(static descriptor => new RecordedDescriptor(RecordingText.Of(descriptor.Kind), descriptor.Size, descriptor.File))],
            Answers = message.Answers,
            Text = message.Text,
            Fault = message.Fault.Length == 0 ? null : message.Fault,
        });
    }

    /// <summary>Ends the recording.</summary>
    public void Dispose() => _stream.Dispose();

    private void Write(RecordedLine line)
    {
        byte[] text = JsonSerializer.SerializeToUtf8Bytes(line, RecordedJson.Default.RecordedLine);
        _stream.Write([.. text, (byte)'\n']); // at once: whatever ends the program ends behind a line
        _stream.Flush();
    }
}
