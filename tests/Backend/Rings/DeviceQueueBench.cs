using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>Memory, a call descriptor, and device queues over split rings that the test writes by hand.</summary>
public abstract class DeviceQueueBench : IDisposable
{
    protected const ulong Data = 0x10_0000;

    private readonly List<Queue> _queues = [];

    protected GuestMemory Memory { get; } = GuestRam.Create((0UL, 0x20_0000UL), (0x20_0000UL, 0x10_0000UL));

    protected EventNotifier Call { get; } = new();

    public void Dispose()
    {
        _queues.ForEach(q => q.Dispose());
        Call.Dispose();
        Memory.Dispose();
        Memory.Released.IsCompleted.Should().BeTrue("every lease of the queue has ended");
        GC.SuppressFinalize(this);
    }

    private protected static VirtqueueSetup Setup(int size, ushort at = 0, VirtioFeatures features = VirtioFeatures.None)
    {
        ulong available = 16UL * (ulong)size;
        ulong used = (available + 6 + (2UL * (ulong)size) + 3) / 4 * 4;
        return new VirtqueueSetup(
            0,
            (uint)size,
            new UserAddress(GuestRam.UserOffset),
            new UserAddress(GuestRam.UserOffset + available),
            new UserAddress(GuestRam.UserOffset + used),
            at,
            features | VirtioFeatures.IndirectDescriptors);
    }

    private protected Queue Start(int size, VirtioFeatures features = VirtioFeatures.None, ushort at = 0, GuestMemory? memory = null)
    {
        RawSplitRing ring = new(memory ?? Memory, 0, size) { AvailableIndex = at, UsedIndex = at };
        DeviceVirtqueue? device = DeviceVirtqueue.TryActivate(memory ?? Memory, Setup(size, at, features), Call, out _, out string explanation);
        device.Should().NotBeNull(explanation);
        Queue queue = new(ring, device!);
        _queues.Add(queue);
        return queue;
    }

    private protected sealed class Queue(RawSplitRing ring, DeviceVirtqueue device) : IDisposable
    {
        public RawSplitRing Ring { get; } = ring;

        public DeviceVirtqueue Device { get; } = device;

        public void OfferSimple(ushort head)
        {
            Ring.Descriptor(head, Data + (head * 0x100UL), 4, RawSplitRing.Write);
            Ring.Offer(head);
        }

        public int ServeAll()
        {
            int count = 0;
            while (Device.TryPop(out DescriptorChain chain))
            {
                Device.Complete(chain, 4);
                count++;
            }

            Device.Flush();
            return count;
        }

        public void Release() => Ring.Dispose();

        public void Dispose()
        {
            Device.Deactivate();
            Ring.Dispose();
        }
    }
}
