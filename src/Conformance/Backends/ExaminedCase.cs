using System.Diagnostics;

namespace Vhost.Conformance;

/// <summary>A case that was begun, and what is known of it until now.</summary>
internal sealed class ExaminedCase(BackendCase examined)
{
    private readonly long _begun = Stopwatch.GetTimestamp();
    private TimeSpan? _elapsed;

    public BackendCase Case => examined;

    public string Id => examined.Description.Id;

    public Dialogue Dialogue { get; } = new();

    /// <summary>What the case itself found.</summary>
    public CaseFinding Finding { get; set; }

    /// <summary>What the check after it found.</summary>
    public CaseFinding Service { get; set; }

    /// <summary>Whether the back-end said anything to the case itself.</summary>
    public bool PeerSpoke { get; private set; }

    /// <summary>Looks who has spoken, before the check does.</summary>
    public void NotePeer() => PeerSpoke = Dialogue.Lines.Any(static line => line.From == DialogueSpeaker.Peer);

    /// <summary>The back-end that does not serve any more is the finding, beside what the case found.</summary>
    public void Blame()
    {
        string before = Finding.Came.Length == 0 ? "" : $"{Finding.Came}; then ";
        string expected = Finding.Verdict == ConformanceVerdict.Fail ? Finding.Expected : "the back-end serves the next front-end";
        Finding = new(Service.Verdict, expected, before + Service.Came) { Lost = true, IsHarm = Finding.IsHarm };
    }

    /// <summary>The finding as reports have it; the time is that of the first call.</summary>
    public ConformanceResult Result() => Finding.Of(examined.Description, Dialogue, _elapsed ??= Stopwatch.GetElapsedTime(_begun));
}
