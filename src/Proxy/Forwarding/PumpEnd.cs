using System.Runtime.InteropServices;

namespace Vhost.Proxy;

/// <summary>How it ended that one end's messages were handed on.</summary>
/// <param name="Text">In words.</param>
/// <param name="Cause">Why.</param>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct PumpEnd(string Text, PumpEndCause Cause);
