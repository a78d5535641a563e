using System.Globalization;

namespace Vhost.Bench.Compare;

/// <summary>Which halves are ours in our run; in the peer's run both are DPDK's.</summary>
internal enum OurHalves
{
    Both,
    Frontend,
    Backend,
}

/// <summary>
/// <c>net/&lt;ring&gt;/&lt;size&gt;/&lt;tx|rx&gt;/&lt;pair|front-end|back-end&gt;</c>; tx: the front-end sends. Two more are there to read others by, without goals:
/// <c>net/&lt;ring&gt;/1518/rx/pair-lent</c>, whose receiver leaves packets where they are, as DPDK's driver does, and <c>net/&lt;ring&gt;/1518/tx/pair-copied</c>, whose
/// sender writes each packet as a whole.
/// </summary>
internal sealed class PacketContest : Contest
{
    private const int MixedRounds = 9;
    private const int SmallPacket = 64;
    private const int LargePacket = 1518;

    private readonly PacketTraffic _traffic;
    private readonly OurHalves _halves;
    private readonly bool _isUsual;

    private PacketContest(PacketTraffic traffic, OurHalves halves, string suffix = "")
    {
        _traffic = traffic;
        _halves = halves;
        _isUsual = suffix.Length == 0;
        string kind = halves switch
        {
            OurHalves.Frontend => "front-end",
            OurHalves.Backend => "back-end",
            _ => "pair",
        };
        string name = string.Create(CultureInfo.InvariantCulture, $"net/{traffic.Ring.Name}/{traffic.Size}/{(traffic.FrontendSends ? "tx" : "rx")}/{kind}{suffix}");
        Rows = [new RowPlan(name, Units.MillionPackets)];
    }

    internal static IEnumerable<Contest> All => [.. Usual, .. Others];

    internal override IReadOnlyList<RowPlan> Rows { get; }

    internal override int Rounds => _halves == OurHalves.Both ? UsualRounds : MixedRounds;

    internal override bool IsQuick => _isUsual && (_traffic.Ring.Name is "split" or "packed") && (_halves == OurHalves.Both || _traffic.Size == SmallPacket);

    private static IEnumerable<Contest> Usual =>
        from ring in PacketRing.All
        from size in (int[])[SmallPacket, LargePacket]
        from frontendSends in (bool[])[true, false]
        from halves in Enum.GetValues<OurHalves>()
        select new PacketContest(new PacketTraffic { Ring = ring, Size = size, FrontendSends = frontendSends }, halves);

    private static IEnumerable<Contest> Others =>
        from ring in PacketRing.All
        let large = new PacketTraffic { Ring = ring, Size = LargePacket, FrontendSends = false }
        from contest in (PacketContest[])
        [
            new PacketContest(large with { Lends = true }, OurHalves.Both, "-lent"),
            new PacketContest(large with { FrontendSends = true, Copies = true }, OurHalves.Both, "-copied"),
        ]
        select contest;

    internal override Task<Sample> RunOursAsync(Workbench bench) => _halves == OurHalves.Both
        ? PacketRuns.OursAsync(bench, _traffic)
        : PacketRuns.MixedAsync(bench, _traffic, oursIsFrontend: _halves == OurHalves.Frontend);

    /// <summary>In a mixed pair the half that is the peer's in our run too is read.</summary>
    internal override Task<Sample> RunPeerAsync(Workbench bench) =>
        PacketRuns.PeersAsync(bench, _traffic, _halves == OurHalves.Both ? null : _halves == OurHalves.Backend);
}
