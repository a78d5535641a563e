namespace Vhost.Conformance;

/// <summary>A case that examines a front-end.</summary>
/// <param name="Description">What users see of it.</param>
/// <param name="RunAsync">Plays the back-end. Ends without an exception: passed, or refused if the peer noted a refusal.</param>
internal sealed record FrontendCase(ConformanceCase Description, Func<FrontendPeer, Task> RunAsync)
{
    /// <summary>The kind of device; empty: any.</summary>
    public string Device { get; init; } = "";
}
