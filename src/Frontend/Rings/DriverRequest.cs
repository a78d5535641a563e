using System.Runtime.InteropServices;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>What the driver remembers of a request in flight; nothing of it is ever read back from shared memory.</summary>
/// <param name="Token">The caller's name for it.</param>
/// <param name="Writable">Bytes the device may write.</param>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct DriverRequest(ulong Token, uint Writable)
{
    internal DriverCompletion Complete(uint length) => new(Token, Math.Min(length, Writable), length > Writable);

    internal DriverCompletion CompleteWhole() => new(Token, Writable, LengthClamped: false);
}

/// <summary>The first rule that the device broke.</summary>
[StructLayout(LayoutKind.Auto)]
internal struct DriverFault
{
    internal VirtqueueFault Kind { get; private set; }

    internal string? Detail { get; private set; }

    internal void Set(VirtqueueFault kind, string detail)
    {
        if (Kind == VirtqueueFault.None)
        {
            Kind = kind;
            Detail = detail;
        }
    }
}
