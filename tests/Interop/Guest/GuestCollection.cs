namespace Vhost.Interop.Tests.Guests;

/// <summary>Tests that boot a guest run one after the other: each takes a processor.</summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class GuestCollection
{
    /// <summary>The collection of tests that boot a guest.</summary>
    public const string Name = "guests";
}
