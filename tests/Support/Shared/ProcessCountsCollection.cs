namespace Vhost.Tests.Support;

/// <summary>Compiled into every test assembly: xunit looks for collections in the assembly of the tests.</summary>
[CollectionDefinition(ProcessCounts.Name, DisableParallelization = true)]
public sealed class ProcessCountsCollection;
