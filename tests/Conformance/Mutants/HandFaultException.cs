namespace Vhost.Conformance.Tests.Mutants;

/// <summary>What the driver wrote into a ring makes no sense: the ring is broken.</summary>
internal sealed class HandFaultException(string why) : Exception(why);
