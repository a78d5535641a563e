using System.Runtime.InteropServices;

namespace Vhost.Protocol;

/// <summary>A piece of memory that somebody wants and that has not arrived.</summary>
/// <param name="Memory">What it belongs to; null: there is none.</param>
/// <param name="Offset">The first byte that is missing.</param>
/// <param name="Length">Bytes, at least 1; some behind the first may have arrived.</param>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct AbsentRange(IncomingMemory Memory, ulong Offset, ulong Length);
