using System.Globalization;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// Where a back-end notes which requests it has taken and not given back (vhost-user "Inflight I/O tracking"). A back-end makes it
/// (<see cref="VhostUserFrontend.CreateInflightRegionAsync"/>); the front-end keeps it and hands it to whichever back-end comes next
/// (<see cref="VhostUserFrontend.UseInflightRegionAsync"/>), which then serves again what one that was killed had left.
/// </summary>
/// <remarks>
/// <para>Ownership: the descriptor is closed by <see cref="Dispose"/>. Keep the region as long as the rings: it belongs to them, not to a session. After a reset of the
/// device, or when the driver sets its rings up anew, make another one.</para>
/// <para>What stands in it is the back-ends' own business; nothing here reads it.</para>
/// </remarks>
public sealed class InflightRegion : IDisposable
{
    /// <summary>More than 256 packed rings of the largest size need.</summary>
    private const ulong MostBytes = 512 << 20;

    internal InflightRegion(VhostUserInflight area, SafeFileHandle descriptor)
    {
        Area = area;
        Descriptor = descriptor;
    }

    /// <summary>Size and place in <see cref="Descriptor"/>, and the queues it is for, as the back-end that made it said.</summary>
    public VhostUserInflight Area { get; }

    /// <summary>Its memory. Borrowed: it is closed with the region.</summary>
    public SafeFileHandle Descriptor { get; }

    /// <summary>A region of memory made here, with what stood in another one.</summary>
    internal static InflightRegion FromContent(VhostUserInflight area, ReadOnlySpan<byte> content)
    {
        using SharedMemory memory = SharedMemory.CreateSealed("vhost-user-inflight", (ulong)content.Length);
        RandomAccess.Write(memory.Descriptor, content, 0);
        return new InflightRegion(area with { MmapSize = (ulong)content.Length, MmapOffset = 0 }, Libc.Duplicate(memory.Descriptor));
    }

    /// <summary>Whether the descriptor can be such a region: whatever else could be read without an end, or not at all.</summary>
    internal static string? WhyNot(VhostUserInflight area, SafeFileHandle descriptor)
    {
        if (DescriptorInfo.Kind(descriptor) != FileKind.Regular || DescriptorInfo.IsPathOnly(descriptor))
            return $"a file in memory is needed; this descriptor is: {DescriptorInfo.Describe(descriptor)}";
        ulong size = DescriptorInfo.FileSize(descriptor);
        return area.MmapSize <= size && area.MmapOffset <= size - area.MmapSize
            ? null
            : string.Create(CultureInfo.InvariantCulture, $"{area.MmapSize} bytes at {area.MmapOffset} are not inside the file, which has {size} bytes");
    }

    /// <summary>What stands in it. It is read and not mapped: the back-end that made the file could shorten it, or be the file system that never answers, which a thread of the pool waits for.</summary>
    internal Task<byte[]> CopyContentAsync(CancellationToken cancellationToken) => Task.Run(CopyContent, cancellationToken).WaitAsync(cancellationToken);

    /// <summary>Puts what stood in another region here; the back-end is given this one again afterwards. A thread of the pool waits for the file, as above.</summary>
    /// <exception cref="InvalidOperationException">The other one had another shape.</exception>
    /// <exception cref="VhostUserException">It cannot be written.</exception>
    internal async Task TakeOverAsync(VhostUserInflight other, ReadOnlyMemory<byte> content, CancellationToken cancellationToken)
    {
        if (other with { MmapOffset = Area.MmapOffset } != Area || (ulong)content.Length != Area.MmapSize)
        {
            throw new InvalidOperationException(
                $"The session was given a region for requests in flight ({Area}), and the snapshot is of another one ({other}): give it none (UseInflightRegionAsync), and it makes one of the snapshot.");
        }

        try
        {
            await Task.Run(() => RandomAccess.Write(Descriptor, content.Span, checked((long)Area.MmapOffset)), cancellationToken).WaitAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new VhostUserException($"What stands in the snapshot cannot be written to the region for requests in flight that the session was given: {e.Message}", e);
        }
    }

    /// <summary>Closes the descriptor. A back-end that has the region keeps it mapped.</summary>
    public void Dispose() => Descriptor.Dispose();

    private byte[] CopyContent()
    {
        if (Area.MmapSize > MostBytes)
            throw new VhostUserException(string.Create(CultureInfo.InvariantCulture, $"The in-flight region of the back-end has {Area.MmapSize} bytes; at most {MostBytes} can be in a snapshot."));
        byte[] content = new byte[Area.MmapSize];
        for (int done = 0; done < content.Length;)
        {
            int count = RandomAccess.Read(Descriptor, content.AsSpan(done), checked((long)Area.MmapOffset + done));
            done += count > 0 ? count : throw new VhostUserException(string.Create(CultureInfo.InvariantCulture, $"The in-flight region of the back-end has {done} bytes, of {Area.MmapSize} that it said."));
        }

        return content;
    }
}
