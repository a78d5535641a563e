using System.Runtime.InteropServices;

namespace Vhost.Frontend;

/// <summary>One request of a burst: how many of the burst's buffers belong to it.</summary>
/// <param name="Readable">Buffers the device reads; they come first.</param>
/// <param name="Writable">Buffers the device writes.</param>
/// <param name="Token">Comes back with the completion.</param>
[StructLayout(LayoutKind.Auto)]
public readonly record struct DriverChain(int Readable, int Writable, ulong Token);
