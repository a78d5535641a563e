namespace Vhost.Conformance.Tests.Mutants;

/// <summary>Tests of mutants run beside no others: they have many peers at once, whose sins show only while all get their turn.</summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class MutantCollection
{
    public const string Name = "mutants";
}
