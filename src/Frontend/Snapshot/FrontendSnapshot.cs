using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// What a session knows about a device whose rings are stopped, so that another session goes on with it: in this process, or in another one on another host
/// (<see cref="VhostUserFrontend.SuspendAsync"/>, <see cref="VhostUserFrontend.ResumeAsync"/>). Immutable.
/// </summary>
/// <remarks>
/// It does not contain guest memory, nor the state of the device itself (<see cref="VhostUserFrontend.SaveDeviceStateAsync(System.IO.Pipelines.PipeWriter, CancellationToken)"/>), nor its configuration space.
/// <see cref="ToBytes"/> and <see cref="Parse"/> are described in docs/migration.md, so that other programs can read it.
/// </remarks>
public sealed record FrontendSnapshot
{
    internal FrontendSnapshot()
    {
    }

    /// <summary>Features that the driver had acknowledged, without LOG_ALL, which is <see cref="IsLogging"/>.</summary>
    public VirtioFeatures AcknowledgedFeatures { get; internal init; }

    /// <summary>Protocol features that both sides had acknowledged. The next session need not have all of them.</summary>
    public VhostUserProtocolFeatures ProtocolFeatures { get; internal init; }

    /// <summary>
    /// Whether the back-end logged what it wrote, and is to do so again. The log itself is not in the snapshot: take it before. Where it was for the migration that ends here:
    /// <c>snapshot with { IsLogging = false }</c>.
    /// </summary>
    public bool IsLogging { get; init; }

    /// <summary>The layout of guest memory, without what is in it; in the order of guest addresses.</summary>
    public IReadOnlyList<SnapshotRegion> Memory { get; internal init; } = [];

    /// <summary>The rings, each with the base at which it goes on. Notifiers are left out.</summary>
    public IReadOnlyList<VringSettings> Rings { get; internal init; } = [];

    /// <summary>The region for requests in flight; null: the back-end had none.</summary>
    public VhostUserInflight? InflightArea { get; internal init; }

    /// <summary>What stands in that region.</summary>
    public ReadOnlyMemory<byte> InflightContent { get; internal init; }

    /// <summary>The region itself, where the snapshot was made in this process: a session that has it needs no copy.</summary>
    internal InflightRegion? Inflight { get; init; }

    /// <summary>The snapshot as bytes, in the newest version of the format.</summary>
    public byte[] ToBytes() => SnapshotFormat.Write(this);

    /// <summary>Reads a snapshot. The bytes may come from anywhere.</summary>
    /// <param name="bytes">What <see cref="ToBytes"/> made, and nothing else.</param>
    /// <exception cref="InvalidDataException">They are not a snapshot, not whole, of another version, or say what cannot be; the message names the field, its value and what is allowed.</exception>
    public static FrontendSnapshot Parse(ReadOnlySpan<byte> bytes) => SnapshotFormat.Read(bytes);
}

/// <summary>Where a region of guest memory was.</summary>
/// <param name="GuestAddress">First byte, as the guest sees it.</param>
/// <param name="Size">Bytes.</param>
public readonly record struct SnapshotRegion(GuestAddress GuestAddress, ulong Size);
