namespace Vhost.Conformance.Tests.Mutants;

/// <summary>A request that an area has noted.</summary>
/// <param name="Counter">Its number in the order of taking.</param>
/// <param name="Entry">Its first entry.</param>
/// <param name="Descriptors">Copies of its descriptors.</param>
internal sealed record HandNoted(ulong Counter, ushort Entry, HandDescriptor[] Descriptors);
