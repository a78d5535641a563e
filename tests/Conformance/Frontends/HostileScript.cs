using Vhost.Protocol;

namespace Vhost.Conformance.Tests;

/// <summary>What a <see cref="HostileFrontend"/> is like.</summary>
internal sealed record HostileScript
{
    /// <summary>Bytes of its memory, which is one file and one region from guest address 0 on.</summary>
    public ulong FileSize { get; init; } = 1 << 20;

    /// <summary>Where in it the ring begins.</summary>
    public ulong RingAt { get; init; }

    /// <summary>Descriptors of the ring.</summary>
    public uint RingSize { get; init; } = 16;

    /// <summary>What it acknowledges.</summary>
    public VirtioFeatures Features { get; init; } = VirtioFeatures.Version1 | VirtioFeatures.VhostUserProtocolFeatures | VirtioFeatures.IndirectDescriptors;

    /// <summary>What it does once the suite has its memory, and before it says anything of its ring.</summary>
    public Action<HostileRing> Before { get; init; } = static _ => { };

    /// <summary>What it says then without end: SET_VRING_NUM, SET_VRING_CALL, SET_MEM_TABLE or SET_CONFIG; nothing unless a test wants it.</summary>
    public VhostUserRequest? Flood { get; init; }

    /// <summary>How long the suite waits for it.</summary>
    public TimeSpan Patience { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>What it does once the suite has its ring.</summary>
    public Action<HostileRing> Act { get; init; } = static ring => ring.AskForBlock();
}
