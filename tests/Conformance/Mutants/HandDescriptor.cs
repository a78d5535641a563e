using System.Runtime.InteropServices;

namespace Vhost.Conformance.Tests.Mutants;

/// <summary>Sixteen bytes of a descriptor. Third and fourth are flags and next of a split ring, identifier and flags of a packed one.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal readonly record struct HandDescriptor(ulong Address, uint Length, ushort Third, ushort Fourth);
