using System.Diagnostics;
using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>What is said during one case. Both channels of several connections may speak at once.</summary>
internal sealed class Dialogue
{
    private const int MostLines = 400;

    private readonly Lock _gate = new();
    private readonly List<DialogueLine> _lines = [];
    private readonly long _begun = Stopwatch.GetTimestamp();
    private int _left;

    /// <summary>The first and the last lines; between them, how many are missing.</summary>
    public IReadOnlyList<DialogueLine> Lines
    {
        get
        {
            lock (_gate)
                return _left == 0 ? [.. _lines] : [.. _lines, new(Stopwatch.GetElapsedTime(_begun), DialogueSpeaker.Note, "main", $"… and {_left} more lines")];
        }
    }

    public void Message(DialogueSpeaker from, string channel, VhostUserChannel kind, in VhostUserHeader header, ReadOnlySpan<byte> payload, int descriptors) =>
        Add(from, channel, MessageText.Describe(kind, header, payload, descriptors));

    public void Note(string text, string channel = "main") => Add(DialogueSpeaker.Note, channel, text);

    public void Add(DialogueSpeaker from, string channel, string text)
    {
        lock (_gate)
        {
            if (_lines.Count == MostLines)
                _left++;
            else
                _lines.Add(new(Stopwatch.GetElapsedTime(_begun), from, channel, text));
        }
    }
}
