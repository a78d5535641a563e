namespace Vhost.Tests.Support;

/// <summary>Who is at the other end of the socket.</summary>
public enum Counterpart
{
    /// <summary>The test itself, which plays it.</summary>
    Script,

    /// <summary>Our other half.</summary>
    Loopback,

    /// <summary>QEMU with a guest: the front-end.</summary>
    Qemu,

    /// <summary>DPDK: testpmd as either end.</summary>
    Dpdk,

    /// <summary>QEMU's storage daemon: a back-end.</summary>
    StorageDaemon,
}

/// <summary>
/// What a test shows with which counterpart: messages (<c>VhostUserRequest</c>, <c>VhostUserBackendRequest</c>), protocol features and features of virtio. The support tables of README.md are made of it, and name
/// the test. One that says so of a session with somebody else's program compares it with what was said there (<see cref="Claims"/>).
/// </summary>
[AttributeUsage(AttributeTargets.Method, AllowMultiple = true)]
public sealed class ShowsAttribute(Counterpart with, params object[] shown) : Attribute
{
    public Counterpart With { get; } = with;

    public IReadOnlyList<object> Shown { get; } = shown;
}
