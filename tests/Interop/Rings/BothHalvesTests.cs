using FsCheck;
using FsCheck.Fluent;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>The driver's and the device's half on one ring, held against a model that is nothing but a list of what is where.</summary>
public sealed class BothHalvesTests
{
    private const ulong Data = 0x10_0000;

    public static TheoryData<int, VirtioFeatures, int> Shapes
    {
        get
        {
            TheoryData<int, VirtioFeatures, int> shapes = new();
            foreach (int size in new[] { 1, 2, 3, 4, 7, 8, 256, 333 })
            {
                foreach (VirtioFeatures features in new[]
                {
                    VirtioFeatures.None,
                    VirtioFeatures.EventIndex,
                    VirtioFeatures.InOrder,
                    VirtioFeatures.EventIndex | VirtioFeatures.InOrder,
                })
                {
                    if (int.IsPow2(size))
                    {
                        shapes.Add(size, features, 0);
                        shapes.Add(size, features | VirtioFeatures.IndirectDescriptors, Math.Min(size, 4));
                    }

                    shapes.Add(size, features | VirtioFeatures.RingPacked, 0);
                    shapes.Add(size, features | VirtioFeatures.RingPacked | VirtioFeatures.IndirectDescriptors, Math.Min(size, 4));
                }
            }

            return shapes;
        }
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    [Shows(Counterpart.Loopback, VirtioFeatures.IndirectDescriptors, VirtioFeatures.EventIndex, VirtioFeatures.RingPacked, VirtioFeatures.InOrder)]
    public void Any_sequence_of_calls_loses_repeats_and_invents_nothing(int size, VirtioFeatures features, int indirect)
    {
        Gen<int[]> calls = Gen.Choose(0, 6).ListOf().Resize(120).Select(l => l.ToArray());
        Prop.ForAll(calls.ToArbitrary(), sequence =>
        {
            using ModelledRing ring = new(size, features, indirect);
            foreach (int call in sequence)
            {
                ring.Do(call);
            }

            ring.Finish();
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(60).WithQuietOnSuccess(true));
    }

    [Theory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(VirtioFeatures.EventIndex)]
    [InlineData(VirtioFeatures.EventIndex | VirtioFeatures.InOrder)]
    [InlineData(VirtioFeatures.RingPacked)]
    [InlineData(VirtioFeatures.RingPacked | VirtioFeatures.EventIndex)]
    [InlineData(VirtioFeatures.RingPacked | VirtioFeatures.EventIndex | VirtioFeatures.InOrder)]
    public void Two_threads_that_sleep_until_they_are_told_never_sleep_for_ever(VirtioFeatures features)
    {
        const int Requests = 100_000;
        using GuestMemory memory = GuestRam.Create(0x20_0000);
        using DriverVirtqueue driver = DriverVirtqueue.Create(memory, default, new DriverVirtqueueOptions { Size = 16 }, features);
        using EventNotifier kick = new(), call = new();
        DeviceVirtqueue device = ModelledRing.Activate(memory, driver, features, call);
        Thread echo = new(() => Echo(device, kick, Requests));
        echo.Start();

        ulong submitted = 0, completed = 0;
        DriverCompletion[] done = new DriverCompletion[16];
        Random random = new(7);
        while (completed < Requests)
        {
            int burst = random.Next(1, 5);
            while (burst-- > 0 && submitted < Requests && driver.TrySubmit([new(new GuestAddress(Data), 8)], [], submitted))
            {
                submitted++;
            }

            if (driver.Publish())
            {
                kick.Signal();
            }

            int count;
            while ((count = driver.Drain(done)) == 0)
            {
                driver.Fault.Should().Be(VirtqueueFault.None, driver.FaultDetail);
                if (driver.ArmCall())
                {
                    call.Wait(TimeSpan.FromSeconds(20)).Should().BeTrue("a wake-up was lost");
                    call.TryConsume();
                }
            }

            completed += (ulong)count;
        }

        echo.Join();
        device.Deactivate();

        static void Echo(DeviceVirtqueue device, EventNotifier kick, int requests)
        {
            for (int served = 0; served < requests;)
            {
                while (device.TryPop(out DescriptorChain chain))
                {
                    device.Complete(chain, 0);
                    served++;
                }

                device.Flush();
                if (served < requests && device.ArmKick())
                {
                    kick.Wait(TimeSpan.FromSeconds(20)).Should().BeTrue("a kick was lost");
                    kick.TryConsume();
                }
            }
        }
    }
}
