namespace Vhost.Conformance.Tests.Mutants;

/// <summary>An address is not known at present: the ring waits until memory or translations change.</summary>
internal sealed class HandMissException : Exception;
