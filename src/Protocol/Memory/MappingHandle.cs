using System.Globalization;
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

    /// <summary>Maps a part of a file, readable and writable, wherever there is room.</summary>
    /// <param name="file">The file; it may be closed afterwards.</param>
    /// <param name="offset">Where in the file, a multiple of its page size.</param>
    /// <param name="length">Bytes, whole pages of the file.</param>
    /// <param name="address">Where it is mapped.</param>
    /// <exception cref="LinuxException">The kernel refused.</exception>
    internal static MappingHandle Map(SafeHandle file, ulong offset, ulong length, out nint address)
    {
        address = Libc.mmap(0, checked((nuint)length), Libc.PROT_READ | Libc.PROT_WRITE, Libc.MAP_SHARED, file, checked((long)offset));
        int error = Marshal.GetLastPInvokeError();
        return address != Libc.MAP_FAILED
            ? new MappingHandle(address, (nuint)length)
            : throw new LinuxException(string.Create(CultureInfo.InvariantCulture, $"mmap(offset 0x{offset:x}, {length} bytes)"), error);
    }

    protected override bool ReleaseHandle()
    {
        bool unmapped = _mappedLength == 0 || Libc.munmap(handle, _mappedLength) == 0;
        _descriptor?.Dispose();
        return unmapped;
    }
}
