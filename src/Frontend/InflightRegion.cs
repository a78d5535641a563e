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

    /// <summary>What stands in it. It is read and not mapped: the back-end that made the file could shorten it.</summary>
    internal async ValueTask<byte[]> CopyContentAsync(CancellationToken cancellationToken)
    {
        if (Area.MmapSize > MostBytes)
            throw new VhostUserException(string.Create(CultureInfo.InvariantCulture, $"The in-flight region of the back-end has {Area.MmapSize} bytes; at most {MostBytes} can be in a snapshot."));
        byte[] content = new byte[Area.MmapSize];
        for (int done = 0; done < content.Length;)
        {
            int count = await RandomAccess.ReadAsync(Descriptor, content.AsMemory(done), checked((long)Area.MmapOffset + done), cancellationToken).ConfigureAwait(false);
            done += count > 0 ? count : throw new VhostUserException(string.Create(CultureInfo.InvariantCulture, $"The in-flight region of the back-end has {done} bytes, of {Area.MmapSize} that it said."));
        }

        return content;
    }

    /// <summary>Closes the descriptor. A back-end that has the region keeps it mapped.</summary>
    public void Dispose() => Descriptor.Dispose();
}
