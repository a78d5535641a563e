using Vhost.Protocol;
using F = Vhost.Protocol.VhostUserProtocolFeatures;
using R = Vhost.Protocol.VhostUserBackendRequest;

namespace Vhost.Frontend.Tests;

/// <summary>A request of a back-end as the specification has it ("Back-end message types"). Written by hand, so that a mistake in the contracts of the code does not show up as its own proof.</summary>
/// <param name="Request">Which.</param>
/// <param name="Sizes">The sizes that its payload may have, ascending; the last one is what is sent.</param>
/// <param name="Gate">What must be negotiated besides BACKEND_REQ.</param>
internal sealed record BackendMessage(R Request, int[] Sizes, F Gate)
{
    /// <summary>All of them in the order of their numbers. An IOTLB message of 26 bytes is one without its padding.</summary>
    public static IReadOnlyList<BackendMessage> All { get; } =
    [
        new(R.IotlbMsg, [26, 32], F.None) { Feature = VirtioFeatures.AccessPlatform },
        new(R.ConfigChangeMsg, [0], F.Config),
        new(R.VringHostNotifierMsg, [24], F.HostNotifier) { MostDescriptors = 1, Descriptors = 1 },
        new(R.VringCall, [8], F.InbandNotifications),
        new(R.VringErr, [8], F.InbandNotifications),
        new(R.SharedObjectAdd, [16], F.SharedObject),
        new(R.SharedObjectRemove, [16], F.SharedObject),
        new(R.SharedObjectLookup, [16], F.SharedObject) { MostDescriptors = 1, IsAlwaysAnswered = true },
        new(R.ShmemMap, [40], F.Shmem) { FewestDescriptors = 1, MostDescriptors = 1, Descriptors = 1 },
        new(R.ShmemUnmap, [40], F.Shmem),
    ];

    /// <summary>A feature that must be acknowledged.</summary>
    public VirtioFeatures Feature { get; init; }

    public int FewestDescriptors { get; init; }

    /// <summary>A lookup has none by the specification; rust-vmm sends one.</summary>
    public int MostDescriptors { get; init; }

    /// <summary>How many there usually are.</summary>
    public int Descriptors { get; init; }

    /// <summary>Whether it is answered unasked, with a descriptor where there is one to give.</summary>
    public bool IsAlwaysAnswered { get; init; }

    public static BackendMessage Of(R request) => All.Single(message => message.Request == request);

    /// <summary>Sizes next to those that it may have.</summary>
    public IEnumerable<int> WrongSizes => Sizes.SelectMany(static size => new[] { size - 1, size + 1 }).Where(size => size >= 0 && !Sizes.Contains(size));

    public override string ToString() => Request.ToString();
}
