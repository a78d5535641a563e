namespace Vhost.Conformance.Tests;

/// <summary>A report made by hand: every verdict, severity, level and speaker, texts that are long, and texts that a hostile peer would choose.</summary>
internal static class SampleReport
{
    /// <summary>Ends a script, begins an element, and holds what XML forbids: a control character, half of a pair, a character that is none, and one that turns the line round.</summary>
    internal const string Nasty = "</script><img onerror=alert(1)>&\"'`]]>--> # \\ \u001b[31m\u0000 \ud800 \uffff \u202e {x}: %s é 😀";

    internal static readonly string Long = string.Join(' ', Enumerable.Repeat("ffeeddccbbaa99887766554433221100", 24)) + new string('x', 600);

    private static readonly DateTimeOffset _startedAt = new(2026, 3, 14, 9, 26, 53, TimeSpan.FromHours(1));

    internal static ConformanceReport Whole { get; } = With([.. Ordinary(), .. Broken(), .. Hostile()]);

    /// <summary>Everything that went wrong is known.</summary>
    internal static ConformanceReport Known { get; } = ConformanceBaseline.Parse(ConformanceJson.Write(Whole)).Mark(Whole);

    /// <summary>Nothing went wrong.</summary>
    internal static ConformanceReport Good { get; } = With([.. Ordinary()]);

    internal static ConformanceReport Empty { get; } = With([]);

    internal static int Count(this ConformanceReport report, string verdict) => report.CountOf(Enum.Parse<ConformanceVerdict>(verdict, ignoreCase: true));

    private static ConformanceReport With(ConformanceResult[] results) => new()
    {
        Peer = new ConformancePeer
        {
            Role = "back-end",
            Socket = "/run/vhost/blk0.sock",
            Device = "blk",
            Program = "qemu-storage-daemon 10.0.2 (Debian 1:10.0.2+ds-2)",
            Features = "VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_TOPOLOGY, VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_MQ, VIRTIO_RING_F_INDIRECT_DESC, VIRTIO_RING_F_EVENT_IDX, VHOST_USER_F_PROTOCOL_FEATURES, VIRTIO_F_VERSION_1",
            ProtocolFeatures = "MQ, REPLY_ACK, CONFIG, INFLIGHT_SHMFD, CONFIGURE_MEM_SLOTS",
            Queues = 4,
        },
        Results = results,
        StartedAt = _startedAt,
        Elapsed = TimeSpan.FromSeconds(94.25),
        Seed = 20260314,
        Restarts = 2,
        Environment =
        [
            new("System", "Debian GNU/Linux 12, Linux 6.12.48-amd64 x86_64, 2 processors"),
            new("Runtime", ".NET 10.0.1"),
            new("Suite", "0.1.0"),
            new("Note", Nasty),
            new("Suite", "said again"),
        ],
    };

    private static IEnumerable<ConformanceResult> Ordinary()
    {
        string[] chapters = ["negotiation", "framing", "memory-tables", "ring-states", "split-rings", "packed-rings", "hostile-control"];
        foreach (string chapter in chapters)
        {
            for (int number = 1; number <= 5; number++)
                yield return Result($"{chapter}/rule-{number}", $"Rule {number} of the chapter is kept when it is asked for in the order that drivers use", ConformanceVerdict.Pass);
        }

        yield return Result("hostile-control/b07-size-too-large", "A payload that is larger than any message is refused", ConformanceVerdict.Reject, ConformanceLevel.Robustness) with
        {
            Expected = "the connection ends, or a reply that is not 0",
            Came = "the connection ended after 8 ms",
            Dialogue = [Said(0, "GET_FEATURES, 0 bytes, NEED_REPLY, size field 0xfffffff0"), Note(8_120, "the peer closed the connection")],
        };
        yield return Skipped("packed-rings/wrap-counter", "The wrap counter turns at the end of the ring", "VIRTIO_F_RING_PACKED is not offered");
        yield return Skipped("device-state/save-and-load", "What was saved can be loaded", "");
    }

    private static IEnumerable<ConformanceResult> Broken() =>
    [
        Result("ring-states/kick-before-enable", "A ring that was kicked before it was enabled is served once it is enabled", ConformanceVerdict.Fail) with
        {
            Severity = ConformanceSeverity.High,
            Expected = "used index 1 within 2 s of SET_VRING_ENABLE 1",
            Came = "used index 0 after 2 s; the ring was served at the next kick",
            Dialogue =
            [
                Said(12, "SET_VRING_KICK, 8 bytes, 1 descriptor: ring 0 [eventfd]"),
                Note(31, "one request is available, kick written"),
                Said(40, "SET_VRING_ENABLE, 8 bytes, NEED_REPLY: ring 0, 1"),
                Heard(166, "SET_VRING_ENABLE reply, 8 bytes: 0"),
                Note(2_000_241, "used index is 0, expected 1"),
                Note(2_000_301, "kick written again"),
                Said(2_000_412, "GET_VRING_BASE, 8 bytes: ring 0") with { Channel = "main 2" },
                Heard(2_000_498, "GET_VRING_BASE reply, 8 bytes: ring 0, num 1") with { Channel = "main 2" },
                Heard(2_000_530, "CONFIG_CHANGE_MSG, 0 bytes") with { Channel = "back-end" },
            ],
        },
        Result("split-rings/in-order", "Used entries come in the order of the available ones where IN_ORDER was acknowledged", ConformanceVerdict.Fail, ConformanceLevel.Should) with
        {
            Severity = ConformanceSeverity.Low,
            Expected = "0, 1, 2, 3",
            Came = "0, 2, 1, 3",
            Dialogue = [Note(4, "four requests are available"), Note(410, "used: 0, 2, 1, 3")],
        },
        Result("hostile-rings/r03-descriptor-loop", "A chain that leads into itself ends the ring, not the peer", ConformanceVerdict.Wedged, ConformanceLevel.Robustness) with
        {
            Severity = ConformanceSeverity.Critical,
            Expected = "the ring stops, the next connection is served",
            Came = "the next connection was accepted, GET_FEATURES was not answered within 5 s; the process uses 100 % of a processor",
            Dialogue = [Note(3, "descriptor 0 → 1 → 0 is available, kick written"), Note(5_000_020, "no answer"), Said(5_000_100, "GET_FEATURES, 0 bytes") with { Channel = "main 2" }],
        },
    ];

    private static IEnumerable<ConformanceResult> Hostile() =>
    [
        Result("hostile-control/b12-text", Nasty, ConformanceVerdict.Fail, ConformanceLevel.Robustness) with
        {
            Case = new ConformanceCase("hostile-control/b12-text", "hostile-control", Nasty, Nasty, ConformanceLevel.Robustness),
            Severity = ConformanceSeverity.Critical,
            Expected = $"one line\nand another\twith a tab\r\n{Nasty}",
            Came = Nasty + Long,
            Command = $"vhost-user test --seed 20260314 --case hostile-control/b12-text --device blk '{Nasty}' {Long}",
            Dialogue = [Said(1, Nasty), Heard(2, Long), Heard(3, Nasty) with { Channel = Nasty }, Note(4, $"a\nb\n{Nasty}")],
        },
        Skipped("hostile-control/b13-reason", "A reason that would be a directive", $"# TODO {Nasty}\n{Long}"),
    ];

    private static ConformanceResult Skipped(string id, string title, string reason) => Result(id, title, ConformanceVerdict.Skip) with { Reason = reason };

    private static ConformanceResult Result(string id, string title, ConformanceVerdict verdict, ConformanceLevel level = ConformanceLevel.Must) => new()
    {
        Case = new ConformanceCase(id, id.Split('/')[0], title, "vhost-user: Ring states; virtio 1.3, 2.7.13", level),
        Verdict = verdict,
        Elapsed = TimeSpan.FromMicroseconds(12_345),
        Command = $"vhost-user test --socket /run/vhost/blk0.sock --device blk --seed 20260314 --case {id}",
    };

    private static DialogueLine Said(int microseconds, string text) => new(TimeSpan.FromMicroseconds(microseconds), DialogueSpeaker.Suite, "main", text);

    private static DialogueLine Heard(int microseconds, string text) => new(TimeSpan.FromMicroseconds(microseconds), DialogueSpeaker.Peer, "main", text);

    private static DialogueLine Note(int microseconds, string text) => new(TimeSpan.FromMicroseconds(microseconds), DialogueSpeaker.Note, "main", text);
}
