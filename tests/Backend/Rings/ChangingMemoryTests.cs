using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>The driver rewrites everything it shares while the device reads it.</summary>
public sealed class ChangingMemoryTests
{
    private const ulong Table = 0x8_0000;
    private const ulong Small = 0x10_0000;
    private const ulong Large = 0x18_0000;

    [Fact]
    public void R08_a_descriptor_that_changes_between_two_lengths_is_read_as_one_of_them()
    {
        using GuestMemory memory = GuestRam.Create(0x20_0000);
        using RawSplitRing ring = new(memory, 0, 8);
        using Mutator mutator = new(ring, turn =>
        {
            bool small = (turn & 1) == 0;
            ring.DescriptorAt(Table, small ? Small : Large, small ? 16u : 4096u, RawSplitRing.Next, 1);
            ring.DescriptorAt(Table + 16, small ? Small : Large, small ? 1u : 512u, RawSplitRing.Write, 0);
            ring.Descriptor(0, Table, 32, RawSplitRing.Indirect);
        });
        DeviceVirtqueue device = Activate(memory, ring);
        byte[] buffer = new byte[8192];

        for (int i = 0; i < 200_000; i++)
        {
            ring.Offer(0);
            device.TryPop(out DescriptorChain chain).Should().BeTrue(device.FaultDetail);
            uint readable = chain.Readable.Length, writable = chain.Writable.Length;
            if (readable is not (16 or 4096) || writable is not (1 or 512) || chain.Readable.CopyTo(buffer) != (int)readable)
            {
                Assert.Fail($"a mix: {readable} readable, {writable} writable");
            }

            device.Complete(chain, 0);
            device.Flush();
        }

        device.Deactivate();
    }

    [Fact]
    public void R08_random_rewriting_of_ring_and_tables_never_leaves_the_memory()
    {
        using GuestMemory memory = GuestRam.Create((0UL, 0x10_0000UL), (0x10_0000UL, 0x10_0000UL));
        using RawSplitRing ring = new(memory, 0, 8);
        Random random = new(11);
        ulong[] places = [0, Table, Small, Large, 0x1F_FFF0, 0xFFFF_FFFF_FFFF_FFF0, 0x20_0000, 0xF_FFF8];
        using Mutator mutator = new(ring, _ =>
        {
            ushort flags = (ushort)random.Next(8);
            uint length = (uint)(random.Next(4) == 0 ? random.Next() : random.Next(64));
            ulong place = places[random.Next(places.Length)];
            ring.Descriptor(random.Next(8), place, length, flags, (ushort)random.Next(9));
            ring.DescriptorAt(Table + ((ulong)random.Next(8) * 16), place, length, flags, (ushort)random.Next(9));
        });
        byte[] buffer = new byte[0x20_0000];
        HashSet<VirtqueueFault> faults = new();
        int served = 0;
        for (int i = 0; i < 100_000; i++)
        {
            ring.AvailableIndex = 0;
            ring.UsedIndex = 0;
            DeviceVirtqueue device = Activate(memory, ring);
            ring.AvailableEntry(0, (ushort)(i % 9));
            ring.AvailableIndex = 1;
            if (device.TryPop(out DescriptorChain chain))
            {
                chain.Readable.CopyTo(buffer).Should().Be((int)Math.Min(chain.Readable.Length, (uint)buffer.Length));
                chain.Writable.Slice(0, Math.Min(chain.Writable.Length, 8)).Fill(0);
                device.Complete(chain, 0);
                device.Flush();
                served++;
            }

            faults.Add(device.Fault);
            device.Deactivate();
        }

        served.Should().BePositive();
        faults.Count.Should().BeGreaterThan(3, "the mutator reaches many rules");
    }

    private static DeviceVirtqueue Activate(GuestMemory memory, RawSplitRing ring)
    {
        VirtqueueSetup setup = new(
            0,
            (uint)ring.Size,
            new UserAddress(ring.DescriptorTable.Value + GuestRam.UserOffset),
            new UserAddress(ring.AvailableRing.Value + GuestRam.UserOffset),
            new UserAddress(ring.UsedRing.Value + GuestRam.UserOffset),
            0,
            VirtioFeatures.IndirectDescriptors);
        return DeviceVirtqueue.TryActivate(memory, setup, null, out _, out string why) ?? throw new InvalidOperationException(why);
    }

    private sealed class Mutator : IDisposable
    {
        private readonly Thread _thread;
        private volatile bool _stop;

        public Mutator(RawSplitRing ring, Action<long> mutate)
        {
            ArgumentNullException.ThrowIfNull(ring);
            mutate(0);
            _thread = new Thread(() =>
            {
                for (long turn = 1; !_stop; turn++)
                {
                    mutate(turn);
                }
            });
            _thread.Start();
        }

        public void Dispose()
        {
            _stop = true;
            _thread.Join();
        }
    }
}
