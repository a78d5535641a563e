namespace Vhost.Bench.Compare;

/// <summary>A kind of ring, the same features on both sides, and what the peer must be asked for to be as fast as it can with these.</summary>
internal sealed record PacketRing(string Name)
{
    public bool Packed { get; init; }

    public bool InOrder { get; init; }

    /// <summary>Whether DPDK's driver is asked for its vectorised paths.</summary>
    public bool Vectorized { get; init; }

    /// <summary>What the log of DPDK's driver must say when it sends.</summary>
    public required string SendPath { get; init; }

    /// <summary>What the log of DPDK's driver must say when it receives.</summary>
    public required string ReceivePath { get; init; }

    internal static IReadOnlyList<PacketRing> All { get; } =
    [
        // Of a split ring only the receiving path is vectorised, and only without IN_ORDER.
        new("split") { Vectorized = true, SendPath = "standard Tx", ReceivePath = "vectorized Rx" },
        new("split-inorder") { InOrder = true, SendPath = "inorder Tx", ReceivePath = "inorder Rx" },
        new("packed") { Packed = true, SendPath = "packed ring standard Tx", ReceivePath = "packed ring standard Rx" },

        // The two have the same features; the second is what the driver does with AVX-512, which it takes with IN_ORDER alone.
        new("packed-inorder") { Packed = true, InOrder = true, SendPath = "packed ring standard Tx", ReceivePath = "packed ring standard Rx" },
        new("packed-vector") { Packed = true, InOrder = true, Vectorized = true, SendPath = "packed ring vectorized Tx", ReceivePath = "packed ring vectorized Rx" },
    ];

    internal static PacketRing Split => All[0];

    /// <summary>The part of our own command that asks for this ring.</summary>
    internal IEnumerable<string> Arguments => ["--ring", Packed ? "packed" : "split", .. InOrder ? (string[])["--in-order"] : []];
}
