using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vhost.Protocol;

/// <summary>
/// One mapping and the descriptor behind it. The handle's own reference count decides when both go: the creator holds one
/// reference, every memory table that contains the mapping another, so the order in which they are disposed does not matter.
/// </summary>
internal sealed class MappingHandle : SafeHandle
{
    private readonly nuint _mappedLength;
    private readonly SafeFileHandle? _descriptor;

    /// <summary>Takes ownership of <paramref name="descriptor"/>, if there is one, and, unless <paramref name="mappedLength"/> is 0, of the mapping.</summary>
    internal MappingHandle(nint mappedAddress, nuint mappedLength, SafeFileHandle? descriptor = null)
        : base(invalidHandleValue: 0, ownsHandle: true)
    {
        _mappedLength = mappedLength;
        _descriptor = descriptor;
        SetHandle(mappedAddress);
    }

    public override bool IsInvalid => handle == 0;

    protected override bool ReleaseHandle()
    {
        bool unmapped = _mappedLength == 0 || Libc.munmap(handle, _mappedLength) == 0;
        _descriptor?.Dispose();
        return unmapped;
    }
}
