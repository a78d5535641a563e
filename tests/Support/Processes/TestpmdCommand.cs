using System.Globalization;

namespace Vhost.Tests.Support;

/// <summary>Which end of the socket DPDK's testpmd is.</summary>
public enum TestpmdRole
{
    /// <summary><c>net_vhost</c>: the device.</summary>
    Backend,

    /// <summary><c>net_virtio_user</c>: the driver, and the owner of the memory.</summary>
    Frontend,
}

/// <summary>How one <c>dpdk-testpmd</c> with one vhost-user port is started.</summary>
public sealed record TestpmdCommand
{
    public const string Program = "dpdk-testpmd";

    /// <summary>The Debian package that brings it.</summary>
    public const string Package = "dpdk-dev";

    private const int LongestUsualFrame = 1518;
    private const int UsualBuffers = 16384;

    /// <summary>It uses no more of a ring unless it is told to.</summary>
    private const int UsualDescriptors = 512;
    private const int FewestBuffers = 1024;

    /// <summary>What the buffers of long packets may take.</summary>
    private const int BufferBytes = 96 << 20;

    public required TestpmdRole Role { get; init; }

    public required string SocketPath { get; init; }

    /// <summary>What it does with packets: <c>io</c>, <c>mac</c>, <c>rxonly</c>, <c>txonly</c>.</summary>
    public required string ForwardMode { get; init; }

    /// <summary>Makes the socket and waits on it; usual for a back-end.</summary>
    public bool Listens { get; init; }

    public int Queues { get; init; } = 1;

    /// <summary>Entries of each ring; a front-end decides.</summary>
    public int RingSize { get; init; } = 256;

    public bool Packed { get; init; }

    public bool InOrder { get; init; }

    public bool Mergeable { get; init; }

    /// <summary>A back-end that offers ACCESS_PLATFORM.</summary>
    public bool Iommu { get; init; }

    /// <summary>Asks for the vectorised paths of the driver, which it takes when ring and features allow.</summary>
    public bool Vectorized { get; init; }

    /// <summary>Length of the packets that <c>txonly</c> makes, without a check sequence.</summary>
    public int PacketSize { get; init; } = 64;

    /// <summary>The address of a front-end's port; null: one of its own making.</summary>
    public string? Address { get; init; }

    /// <summary>To whom <c>txonly</c> sends; null: to an address that nobody has.</summary>
    public string? Destination { get; init; }

    /// <summary>The processor that both of its threads share.</summary>
    public int Processor { get; init; }

    /// <summary>Where huge pages are mounted; null: ordinary pages.</summary>
    public string? HugePages { get; init; }

    /// <summary>Name of its runtime files; two processes must not share one.</summary>
    public required string Name { get; init; }

    /// <summary>The command line without the program.</summary>
    public IReadOnlyList<string> Arguments =>
    [
        "--lcores", Text($"0@{Processor},1@{Processor}"),
        "--no-pci", "--no-telemetry",
        "--file-prefix", Name,
        .. HugePages is null ? (string[])["--no-huge", "-m", "256"] : ["--huge-dir", HugePages, "--single-file-segments", "-m", "200"],
        "--force-max-simd-bitwidth=512",
        "--log-level=pmd.net.virtio.init:debug",
        "--vdev", Role == TestpmdRole.Backend ? BackendDevice : FrontendDevice,
        "--", "-i", "--nb-cores=1", "--forward-mode=" + ForwardMode, "--auto-start",
        "--no-flush-rx", // what is in a ring when forwarding starts is forwarded, not thrown away
        .. Queues > 1 ? (string[])[Text($"--rxq={Queues}"), Text($"--txq={Queues}")] : [],
        .. RingSize > UsualDescriptors ? (string[])[Text($"--rxd={RingSize}"), Text($"--txd={RingSize}")] : [],
        Text($"--total-num-mbufs={Buffers}"),
        .. PacketSize > LongestUsualFrame ? (string[])[Text($"--mbuf-size={BufferSize}")] : [],
        Text($"--txpkts={PacketSize}"),
        .. Destination is null ? (string[])[] : [$"--eth-peer=0,{Destination}"],
    ];

    /// <summary>The whole command as a person types it.</summary>
    public string CommandLine => $"{Program} {string.Join(' ', Arguments.Select(Quote))}";

    /// <summary>A packet in one buffer, behind the room that the driver's header needs.</summary>
    private int BufferSize => PacketSize + 256;

    private int Buffers => PacketSize > LongestUsualFrame ? Math.Clamp(BufferBytes / BufferSize, FewestBuffers, UsualBuffers) : UsualBuffers;

    private string BackendDevice => Text($"net_vhost0,iface={SocketPath},queues={Queues},client={(Listens ? 0 : 1)}{(Iommu ? ",iommu-support=1" : "")}");

    private string FrontendDevice => Text($"net_virtio_user0,path={SocketPath},queues={Queues},queue_size={RingSize},server={Flag(Listens)},")
        + Text($"packed_vq={Flag(Packed)},mrg_rxbuf={Flag(Mergeable)},in_order={Flag(InOrder)},vectorized={Flag(Vectorized)}")
        + (Address is null ? "" : $",mac={Address}");

    private static int Flag(bool value) => value ? 1 : 0;

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);

    private static string Quote(string argument) => argument.Contains(',', StringComparison.Ordinal) ? $"'{argument}'" : argument;
}
