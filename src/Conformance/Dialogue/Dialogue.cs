using System.Diagnostics;
using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>What is said during one case. Both channels of several connections may speak at once.</summary>
internal sealed class Dialogue
{
    private const int MostOfEachEnd = 200;

    private readonly Lock _gate = new();
    private readonly List<DialogueLine> _first = [];
    private readonly Queue<DialogueLine> _last = [];
    private readonly long _begun = Stopwatch.GetTimestamp();
    private int _left;

    /// <summary>The first and the last lines; between them, how many are missing.</summary>
    public IReadOnlyList<DialogueLine> Lines
    {
        get
        {
            lock (_gate)
                return _left == 0 ? [.. _first, .. _last] : [.. _first, new(_first[^1].At, DialogueSpeaker.Note, "main", $"… {_left} lines are left out …"), .. _last];
        }
    }

    public void Message(DialogueSpeaker from, string channel, VhostUserChannel kind, in VhostUserHeader header, ReadOnlySpan<byte> payload, int descriptors) =>
        Add(from, channel, MessageText.Describe(kind, header, payload, descriptors));

    public void Note(string text, string channel = "main") => Add(DialogueSpeaker.Note, channel, text);

    public void Add(DialogueSpeaker from, string channel, string text)
    {
        lock (_gate)
        {
            DialogueLine line = new(Stopwatch.GetElapsedTime(_begun), from, channel, text);
            if (_first.Count < MostOfEachEnd)
            {
                _first.Add(line);
                return;
            }

            _last.Enqueue(line);
            if (_last.Count <= MostOfEachEnd)
                return;
            _last.Dequeue();
            _left++;
        }
    }
}
