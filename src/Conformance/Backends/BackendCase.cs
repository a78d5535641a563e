namespace Vhost.Conformance;

/// <summary>A case that examines a back-end.</summary>
/// <param name="Description">What users see of it.</param>
/// <param name="Needs">Whom it concerns.</param>
/// <param name="RunAsync">Plays the front-end. Ends without an exception: passed, or refused if the peer noted a refusal.</param>
internal sealed record BackendCase(ConformanceCase Description, CaseNeeds Needs, Func<BackendPeer, Task> RunAsync);
