using System.Reflection;
using System.Runtime.CompilerServices;
using Vhost.Protocol;

namespace Vhost.Tests.Support;

/// <summary>What a test says that it shows (<see cref="ShowsAttribute"/>), to be compared with what was negotiated and said.</summary>
public sealed class Claims
{
    private readonly object[] _shown;

    private Claims(object[] shown) => _shown = shown;

    /// <summary>Messages of the front-end.</summary>
    public IReadOnlyList<VhostUserRequest> Requests => [.. _shown.OfType<VhostUserRequest>()];

    public VhostUserProtocolFeatures ProtocolFeatures => _shown.OfType<VhostUserProtocolFeatures>().Aggregate(VhostUserProtocolFeatures.None, static (all, one) => all | one);

    public VirtioFeatures Features => _shown.OfType<VirtioFeatures>().Aggregate(VirtioFeatures.None, static (all, one) => all | one);

    /// <summary>Those of the test that asks.</summary>
    /// <typeparam name="TTests">Its class.</typeparam>
    /// <param name="test">Its name.</param>
    public static Claims OfTest<TTests>([CallerMemberName] string test = "") =>
        new([.. typeof(TTests).GetMethod(test)!.GetCustomAttributes<ShowsAttribute>().SelectMany(static shows => shows.Shown)]);
}
