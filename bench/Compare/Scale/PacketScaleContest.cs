using System.Globalization;

namespace Vhost.Bench.Compare;

/// <summary>
/// How packets a second change with the number of queues, the size of the ring and the size of the packet, for ours and for DPDK's pair, on a split
/// ring that the front-end sends into.
/// </summary>
internal sealed class PacketScaleContest : Contest
{
    private static readonly int[] _queues = [1, 2, 8];
    private static readonly int[] _rings = [64, 128, 256, 512, 1024, 2048, 4096];
    private static readonly int[] _packets = [64, 128, 256, 512, 1024, 1518, 4096, 9000, 16384, 65000];

    private static readonly PacketTraffic _usual = new() { Ring = PacketRing.Split, Size = 64, FrontendSends = true };

    private readonly PacketTraffic _traffic;

    private PacketScaleContest(string what, int number, PacketTraffic traffic)
    {
        _traffic = traffic;
        Rows = [new RowPlan(string.Create(CultureInfo.InvariantCulture, $"scale/{what}/{number}"), Units.MillionPackets)];
    }

    internal static IEnumerable<Contest> All =>
    [
        .. _queues.Select(number => new PacketScaleContest("queues", number, _usual with { Queues = number })),
        .. _rings.Select(number => new PacketScaleContest("ring", number, _usual with { RingSize = number })),
        .. _packets.Select(number => new PacketScaleContest("packet", number, _usual with { Size = number })),
    ];

    internal override IReadOnlyList<RowPlan> Rows { get; }

    internal override bool IsQuick => false;

    internal override Task<Sample> RunOursAsync(Workbench bench) => PacketRuns.OursAsync(bench, _traffic);

    internal override Task<Sample> RunPeerAsync(Workbench bench) => PacketRuns.PeersAsync(bench, _traffic);
}
