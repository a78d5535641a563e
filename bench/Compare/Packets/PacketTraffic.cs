using System.Globalization;

namespace Vhost.Bench.Compare;

/// <summary>What flows between two processes: who sends what, over which rings.</summary>
internal sealed record PacketTraffic
{
    /// <summary>From here on our front-end builds its packets where they are read, as DPDK's does with all; it copies shorter ones, which is faster.</summary>
    private const int FirstInPlace = 512;

    public required PacketRing Ring { get; init; }

    public required int Size { get; init; }

    /// <summary>Whether the front-end sends; else the back-end does.</summary>
    public required bool FrontendSends { get; init; }

    public int Queues { get; init; } = 1;

    public int RingSize { get; init; } = 256;

    /// <summary>Whether our front-end leaves received packets where they are until it is done with them; else it copies them out.</summary>
    public bool Lends { get; init; }

    /// <summary>Whether our front-end writes packets of every size as a whole.</summary>
    public bool Copies { get; init; }

    /// <summary>DPDK's command for one end of it.</summary>
    internal TestpmdCommand Peer(Workbench bench, TestpmdRole role, string socket) => new()
    {
        Role = role,
        SocketPath = socket,
        ForwardMode = Mode(role == TestpmdRole.Frontend),
        Listens = role == TestpmdRole.Backend,
        Queues = Queues,
        RingSize = RingSize,
        Packed = Ring.Packed,
        InOrder = Ring.InOrder,
        Vectorized = Ring.Vectorized,
        PacketSize = Size,
        Processor = role == TestpmdRole.Backend ? bench.Options.BackendProcessor : bench.Options.FrontendProcessor,
        HugePages = bench.HugePages?.Folder,
        Name = bench.NewName(role == TestpmdRole.Backend ? "be" : "fe"),
    };

    /// <summary>Starts our own command for one end of it.</summary>
    internal Ours StartOurs(Workbench bench, bool frontend, string socket, int seconds)
    {
        int processor = frontend ? bench.Options.FrontendProcessor : bench.Options.BackendProcessor;
        return Ours.StartTool(bench, processor,
        [
            "net", "bench", "--role", frontend ? "front-end" : "back-end", "--socket", socket, "--mode", Mode(frontend),
            "--size", Text(Size), "--burst", "32", .. Ring.Arguments, "--ring-size", Text(RingSize),
            "--queues", Text(Queues), "--seconds", Text(seconds), "--cpu", Text(processor), "--json",
            .. frontend ? (string[])["--indirect"] : [], // as DPDK's driver does, whatever it then uses
            .. frontend && bench.HugePages is not null ? (string[])["--huge-pages"] : [],
            .. frontend && Lends ? (string[])["--lend"] : [],
            .. frontend && FrontendSends && !Copies && Size >= FirstInPlace ? (string[])["--in-place"] : [],
        ]);
    }

    private static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);

    private string Mode(bool frontend) => frontend == FrontendSends ? "txonly" : "rxonly";
}
