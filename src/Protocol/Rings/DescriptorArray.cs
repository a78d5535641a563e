namespace Vhost.Protocol;

/// <summary>A driver's own descriptors outside the ring: the memory of its indirect tables.</summary>
/// <remarks>Safety: the range was resolved against a table on which the owner holds a lease; the owner stays below the count it resolved.</remarks>
internal readonly unsafe struct DescriptorArray
{
    private readonly byte* _start;

    internal DescriptorArray(nint start) => _start = (byte*)start;

    internal void Write(nuint index, in VirtqueueDescriptor descriptor)
    {
        byte* at = _start + (index * VirtqueueDescriptor.EncodedSize);
        *(ulong*)at = descriptor.Address;
        *(ulong*)(at + 8) = descriptor.LengthFlagsNext;
    }

    internal void Write(nuint index, in PackedDescriptor descriptor)
    {
        byte* at = _start + (index * PackedDescriptor.EncodedSize);
        *(ulong*)at = descriptor.Address;
        *(ulong*)(at + 8) = descriptor.LengthIdFlags;
    }
}
