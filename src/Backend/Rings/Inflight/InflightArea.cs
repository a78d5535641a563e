using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// The area in which a back-end notes for whoever comes after it which requests it has taken and not given back. The front-end keeps it while back-ends come and go, and may
/// write into it: what is read from it is checked like everything else that is shared.
/// </summary>
/// <remarks>Ownership: holds the mapping. Queues that run hold a lease of their own, so disposing never takes it from under them.</remarks>
internal sealed class InflightArea : IDisposable
{
    private readonly GuestMemory _memory;

    /// <summary>Takes over an area that the front-end handed in.</summary>
    /// <param name="memory">The mapping, which the area takes a reference on.</param>
    /// <param name="said">What the front-end said of it.</param>
    internal InflightArea(SharedMemory memory, in VhostUserInflight said)
    {
        _memory = GuestMemory.Create(new GuestMemoryRegion(default, memory, default));
        Said = said;
    }

    /// <summary>Its size, and the queues that have a part in it.</summary>
    internal VhostUserInflight Said { get; }

    /// <summary>For tests: see <see cref="InflightPart.Stored"/>.</summary>
    internal Action? Stored { get; init; }

    /// <summary>What keeps a queue from noting its requests here; null: nothing.</summary>
    internal string? WhyNot(in VirtqueueSetup setup)
    {
        if (setup.Index >= Said.QueueCount)
            return null;
        ulong needed = Said.QueueCount * InflightLayout.PartSize(Said.QueueSize, setup.IsPacked);
        if (needed > Said.MmapSize)
        {
            return string.Create(
                CultureInfo.InvariantCulture,
                $"queue {setup.Index}: the in-flight area has {Said.MmapSize} bytes, {Said.QueueCount} {(setup.IsPacked ? "packed" : "split")} rings of {Said.QueueSize} entries need {needed}");
        }

        return setup.Size <= Said.QueueSize
            ? null
            : string.Create(CultureInfo.InvariantCulture, $"queue {setup.Index}: the in-flight area has {Said.QueueSize} entries for each queue, the ring has {setup.Size}");
    }

    /// <summary>The part of a queue for which <see cref="WhyNot"/> finds nothing; null when it has none.</summary>
    internal InflightPart? Open(in VirtqueueSetup setup)
    {
        if (setup.Index >= Said.QueueCount)
            return null;
        ulong size = InflightLayout.PartSize(Said.QueueSize, setup.IsPacked);
        GuestMemoryLease lease = _memory.Acquire();
        if (MappedWindow.TryOpen(_memory, new GuestAddress((ulong)setup.Index * size), size, out MappedWindow window))
            return new InflightPart(window, lease, setup.IsPacked ? setup.Size : Said.QueueSize) { Stored = Stored }; // positions in a packed ring's part go around with the ring
        lease.Dispose();
        return null;
    }

    public void Dispose() => _memory.Dispose();
}
