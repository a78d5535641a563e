using Vhost.Tests.Support;

namespace Vhost.Protocol.Tests;

/// <summary>A split ring that is written by hand, in memory of two regions side by side and one apart.</summary>
public abstract class SplitRingBench : IDisposable
{
    private protected const ulong RingAt = 0x1000;
    private protected const ulong Data = 0x10_0000;
    private protected const int Size = 8;

    private protected SplitRingBench() => Ring = new RawSplitRing(Memory, RingAt, Size);

    private protected GuestMemory Memory { get; } = GuestRam.Create((0UL, 0x20_0000UL), (0x20_0000UL, 0x10_0000UL), (0x80_0000UL, 0x10_0000UL));

    private protected RawSplitRing Ring { get; }

    public void Dispose()
    {
        Dispose(disposing: true);
        GC.SuppressFinalize(this);
    }

    protected virtual void Dispose(bool disposing)
    {
        if (disposing)
        {
            Ring.Dispose();
            Memory.Dispose();
        }
    }

    private protected static SplitRing Map(GuestMemory memory, RawSplitRing raw)
    {
        memory.TryGetAddress(raw.DescriptorTable, 16, out nint descriptors).Should().BeTrue();
        memory.TryGetAddress(raw.AvailableRing, 6, out nint available).Should().BeTrue();
        memory.TryGetAddress(raw.UsedRing, 6, out nint used).Should().BeTrue();
        SplitRing.TryMap(descriptors, available, used, (uint)raw.Size, out SplitRing ring).Should().BeTrue();
        return ring;
    }
}
