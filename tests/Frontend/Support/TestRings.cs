using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>Rings in test memory, with notifiers of their own.</summary>
internal sealed class TestRings : IDisposable
{
    public const ushort Size = 128;
    private const ulong Stride = 0x10000;

    private readonly List<IDisposable> _owned = [];

    public GuestMemory Memory { get; } = GuestRam.Create(1 << 20, at: 0x100000);

    public VringSettings this[int index]
    {
        get
        {
            EventNotifier kick = new();
            EventNotifier call = new();
            _owned.AddRange([kick, call]);
            return Bare(index) with { Kick = kick, Call = call };
        }
    }

    public static VringSettings Bare(int index)
    {
        ulong start = 0x100000 + ((ulong)index * Stride);
        return new VringSettings
        {
            Index = index,
            Size = Size,
            DescriptorTable = new GuestAddress(start),
            AvailableRing = new GuestAddress(start + 0x1000),
            UsedRing = new GuestAddress(start + 0x2000),
        };
    }

    /// <summary>Writes the indices a driver and a device would have left in the ring.</summary>
    public void SetIndices(int index, ushort available, ushort used)
    {
        VringSettings ring = Bare(index);
        using GuestMemoryLease lease = Memory.Acquire();
        lease.TryWrite(new GuestAddress(ring.AvailableRing.Value + 2), available).Should().BeTrue();
        lease.TryWrite(new GuestAddress(ring.UsedRing.Value + 2), used).Should().BeTrue();
    }

    public void Dispose()
    {
        foreach (IDisposable one in _owned)
            one.Dispose();
        Memory.Dispose();
    }
}
