using System.Globalization;
using System.Runtime.InteropServices;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// A page of the device that takes the driver's notifications of one ring (VRING_HOST_NOTIFIER_MSG): a hypervisor maps it for its guest over the place that the driver writes to, and the writes reach the device by themselves.
/// </summary>
/// <remarks>The mapping ends with <see cref="Dispose"/>, which is the session's to call after <see cref="IHostNotifierUser.Remove"/> has returned.</remarks>
public sealed class HostNotifierPage : IDisposable
{
    private readonly MappingHandle _mapping;

    private HostNotifierPage(int queue, nint address, MappingHandle mapping) => (Queue, Address, _mapping) = (queue, address, mapping);

    /// <summary>The ring.</summary>
    public int Queue { get; }

    /// <summary>Where the page is mapped in this process, readable and writable; its size is <see cref="Environment.SystemPageSize"/>.</summary>
    public nint Address { get; }

    /// <summary>Unmaps the page.</summary>
    public void Dispose() => _mapping.Dispose();

    /// <summary>Null, and the reason, when what the back-end said is no page.</summary>
    internal static HostNotifierPage? TryMap(in VhostUserVringArea said, SafeHandle descriptor, out string explanation)
    {
        ulong page = (ulong)Environment.SystemPageSize;
        explanation = "";
        if (said.Size != page || said.Offset % page != 0 || said.Offset > long.MaxValue - page)
            explanation = string.Create(CultureInfo.InvariantCulture, $"0x{said.Size:x} bytes at 0x{said.Offset:x} are not one page of {page} bytes");
        else if (WhyNotFrom(said.Offset + page, descriptor) is { } why)
            explanation = why;
        else if (SharedMemory.MappingGranularity(descriptor) is var granularity && granularity != page)
            explanation = string.Create(CultureInfo.InvariantCulture, $"0x{said.Size:x} bytes are not whole pages of 0x{granularity:x} bytes, of which the file consists");
        if (explanation.Length > 0)
            return null;
        try
        {
            MappingHandle mapping = MappingHandle.Map(descriptor, said.Offset, page, out nint address);
            return new HostNotifierPage((int)said.Ring.Index, address, mapping);
        }
        catch (LinuxException e)
        {
            explanation = e.Message;
            return null;
        }
    }

    /// <summary>
    /// A file has to have the page, and be memory: what else a file system has may be somebody's program that keeps whoever closes the mapping. What a device gives (VFIO, a character device) says no size, and the kernel decides.
    /// </summary>
    private static string? WhyNotFrom(ulong end, SafeHandle descriptor) => DescriptorInfo.Kind(descriptor) switch
    {
        FileKind.Regular when !DescriptorInfo.IsMemory(descriptor) => "the descriptor is an ordinary file; a device, or memory (memfd, tmpfs, hugetlbfs), is expected",
        FileKind.Regular when DescriptorInfo.FileSize(descriptor) < end => string.Create(CultureInfo.InvariantCulture, $"the file ends before 0x{end:x}"),
        FileKind.Regular or FileKind.Anonymous or FileKind.CharacterDevice => null,
        FileKind kind => $"the descriptor is not a file that can be mapped ({kind})",
    };
}
