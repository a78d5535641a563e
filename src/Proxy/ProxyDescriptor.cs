using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Proxy;

/// <summary>What is known of a descriptor that travelled with a message, without touching the file behind it.</summary>
/// <param name="Kind">What kind of file it is.</param>
/// <param name="Size">Bytes of a regular file or of memory; 0 of anything else.</param>
/// <param name="File">A number that all descriptors of the same file have; 0 where the kernel does not say, as of eventfds.</param>
public readonly record struct ProxyDescriptor(ProxyDescriptorKind Kind, ulong Size, ulong File)
{
    internal static ProxyDescriptor Of(SafeFileHandle descriptor)
    {
        ProxyDescriptorKind kind = DescriptorInfo.Kind(descriptor) switch
        {
            FileKind.Regular => DescriptorInfo.IsMemory(descriptor) ? ProxyDescriptorKind.Memory : ProxyDescriptorKind.File,
            FileKind.Socket => ProxyDescriptorKind.Socket,
            FileKind.Pipe => ProxyDescriptorKind.Pipe,
            FileKind.Anonymous when DescriptorInfo.IsEventFd(descriptor) => ProxyDescriptorKind.Event,
            FileKind.Anonymous when DescriptorInfo.IsUserFaults(descriptor) => ProxyDescriptorKind.UserFaults,
            _ => ProxyDescriptorKind.Other,
        };
        ulong size = kind is ProxyDescriptorKind.Memory or ProxyDescriptorKind.File ? DescriptorInfo.FileSize(descriptor) : 0;
        bool isNamed = kind is not (ProxyDescriptorKind.Event or ProxyDescriptorKind.UserFaults or ProxyDescriptorKind.Other); // those share one number
        return new ProxyDescriptor(kind, size, isNamed ? DescriptorInfo.FileNumber(descriptor) : 0);
    }
}
