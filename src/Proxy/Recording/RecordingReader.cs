using System.Globalization;
using System.Text.Json;
using Vhost.Protocol;

namespace Vhost.Proxy;

/// <summary>Reads what <see cref="RecordingWriter"/> has written.</summary>
public static class RecordingReader
{
    /// <summary>Reads a recording whole, in the order in which its messages came. A last line of which only a part was written is left out.</summary>
    /// <param name="reader">The recording. Left open.</param>
    /// <exception cref="InvalidDataException">It is none, or a line makes no sense; the message names the line and the field.</exception>
    public static IReadOnlyList<ProxyMessage> Read(TextReader reader)
    {
        ArgumentNullException.ThrowIfNull(reader);
        List<ProxyMessage> messages = [];
        int number = 0;
        while (reader.ReadLine() is { } text)
        {
            number++;
            try
            {
                RecordedLine line = JsonSerializer.Deserialize(text, RecordedJson.Default.RecordedLine) ?? throw new InvalidDataException("null");
                if (number == 1)
                    Check(line);
                else
                    messages.Add(Message(line));
            }
            catch (JsonException) when (number > 1 && reader.Peek() < 0)
            {
                break;
            }
            catch (Exception e) when (e is JsonException or InvalidDataException or FormatException or ArgumentException or OverflowException)
            {
                throw new InvalidDataException(string.Create(CultureInfo.InvariantCulture, $"line {number} of the recording: {e.Message}"), e);
            }
        }

        if (number == 0)
            throw new InvalidDataException("the recording is empty");
        return [.. messages.OrderBy(static message => message.Number)];
    }

    private static void Check(RecordedLine line)
    {
        if (line.Format != RecordingText.Format || line.Version != RecordingText.Version)
            throw new InvalidDataException(string.Create(CultureInfo.InvariantCulture, $"format '{line.Format}', version {line.Version}: only '{RecordingText.Format}', version {RecordingText.Version} is known"));
    }

    private static ProxyDescriptor Descriptor(RecordedDescriptor? descriptor) => descriptor is null
        ? throw new InvalidDataException("a descriptor is null")
        : new ProxyDescriptor(RecordingText.Kind(descriptor.Kind), descriptor.Size, descriptor.File);

    private static ProxyMessage Message(RecordedLine line) => new()
    {
        Number = line.Number,
        Session = line.Session,
        Channel = RecordingText.Channel(line.Channel),
        From = RecordingText.Side(line.From),
        Header = new VhostUserHeader(line.Request, (VhostUserHeaderFlags)line.Flags, line.Size),
        Payload = Convert.FromHexString(line.Payload ?? ""),
        Descriptors = [.. (line.Descriptors ?? []).Select(Descriptor)],
        At = TimeSpan.FromMicroseconds(line.Microseconds),
        Answers = line.Answers,
        Fault = line.Fault ?? "",
    };
}
