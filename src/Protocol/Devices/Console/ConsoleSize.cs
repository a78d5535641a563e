using System.Runtime.InteropServices;

namespace Vhost.Protocol;

/// <summary>The size of a console in characters; 0 by 0: not known.</summary>
/// <param name="Columns">Characters of a row.</param>
/// <param name="Rows">Rows.</param>
[StructLayout(LayoutKind.Auto)]
public readonly record struct ConsoleSize(ushort Columns, ushort Rows);
