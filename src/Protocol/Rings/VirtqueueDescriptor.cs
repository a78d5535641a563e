using System.Runtime.InteropServices;

namespace Vhost.Protocol;

/// <summary>Flags of a descriptor (virtio 1.2, 2.7.5).</summary>
[Flags]
internal enum DescriptorFlags : ushort
{
    None = 0,

    /// <summary>The chain goes on at <c>next</c>.</summary>
    Next = 1,

    /// <summary>The device may write the buffer; without it, only read.</summary>
    Write = 2,

    /// <summary>The buffer is a table of descriptors.</summary>
    Indirect = 4,
}

/// <summary>The sixteen bytes of a split-ring descriptor, as a copy: le64 address, le32 length, le16 flags, le16 next.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly struct VirtqueueDescriptor
{
    internal const int EncodedSize = 16;

    private readonly ulong _address;
    private readonly ulong _lengthFlagsNext;

    internal VirtqueueDescriptor(ulong address, uint length, DescriptorFlags flags, ushort next)
        : this(address, length | ((ulong)flags << 32) | ((ulong)next << 48))
    {
    }

    internal VirtqueueDescriptor(ulong address, ulong lengthFlagsNext)
    {
        _address = address;
        _lengthFlagsNext = lengthFlagsNext;
    }

    internal ulong Address => _address;

    internal uint Length => (uint)_lengthFlagsNext;

    internal DescriptorFlags Flags => (DescriptorFlags)(ushort)(_lengthFlagsNext >> 32);

    internal ushort Next => (ushort)(_lengthFlagsNext >> 48);

    internal ulong LengthFlagsNext => _lengthFlagsNext;
}
