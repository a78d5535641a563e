using System.Runtime.InteropServices;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>Has somebody look again who waits for a page, in whichever process.</summary>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct PageWaker(UserFaults Faults, ulong Address, ulong Length)
{
    /// <summary>One who has gone meanwhile need not be woken.</summary>
    public void Wake()
    {
        try
        {
            _ = Faults.Wake(Address, Length);
        }
        catch (ObjectDisposedException)
        {
            // His session has ended.
        }
    }
}
