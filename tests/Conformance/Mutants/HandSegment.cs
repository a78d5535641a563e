using System.Runtime.InteropServices;
using Vhost.Protocol;

namespace Vhost.Conformance.Tests.Mutants;

/// <summary>A piece of a buffer that is contiguous in guest addresses.</summary>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct HandSegment(GuestAddress Address, uint Length);
