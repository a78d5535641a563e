namespace Vhost.Conformance;

/// <summary>Where a ring lies.</summary>
/// <param name="Memory">In which memory.</param>
/// <param name="Index">Which ring of the device it is.</param>
/// <param name="Size">Entries.</param>
/// <param name="At">Its first guest address.</param>
internal readonly record struct RingPlace(CaseMemory Memory, int Index, int Size, ulong At);
