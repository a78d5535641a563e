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
            var shapes = new TheoryData<int, VirtioFeatures, int>();
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
    public void Any_sequence_of_calls_loses_repeats_and_invents_nothing(int size, VirtioFeatures features, int indirect)
    {
        Gen<int[]> calls = Gen.Choose(0, 6).ListOf().Resize(120).Select(l => l.ToArray());
        Prop.ForAll(calls.ToArbitrary(), sequence =>
        {
            using var ring = new ModelledRing(size, features, indirect);
            foreach (int call in sequence)
            {
                ring.Do(call);
            }

            ring.Finish();
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(60));
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
        using var driver = DriverVirtqueue.Create(memory, default, new DriverVirtqueueOptions { Size = 16 }, features);
        using EventNotifier kick = new(), call = new();
        DeviceVirtqueue device = ModelledRing.Activate(memory, driver, features, call);
        var echo = new Thread(() => Echo(device, kick, Requests));
        echo.Start();

        ulong submitted = 0, completed = 0;
        var done = new DriverCompletion[16];
        var random = new Random(7);
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

    private sealed class ModelledRing : IDisposable
    {
        private readonly GuestMemory _memory = GuestRam.Create(0x20_0000);
        private readonly DriverVirtqueue _driver;
        private readonly EventNotifier _call = new();
        private readonly DeviceVirtqueue _device;
        private readonly Random _random = new(1);
        private readonly Queue<ulong> _submitted = new();
        private readonly List<(ushort Head, ulong Token, uint Length)> _taken = [];
        private readonly Dictionary<ulong, uint> _completed = [];
        private readonly Dictionary<ulong, uint> _flushed = [];
        private readonly DriverCompletion[] _buffer = new DriverCompletion[3];
        private int _published;
        private ulong _nextToken;
        private bool _kickArmed;
        private bool _callArmed;

        public ModelledRing(int size, VirtioFeatures features, int indirect)
        {
            _driver = DriverVirtqueue.Create(
                _memory, default, new DriverVirtqueueOptions { Size = (ushort)size, IndirectBuffers = indirect }, features);
            _device = Activate(_memory, _driver, features, _call);
        }

        public static DeviceVirtqueue Activate(GuestMemory memory, DriverVirtqueue driver, VirtioFeatures features, EventNotifier call)
        {
            using var kick = new EventNotifier();
            VringSettings described = driver.Describe(0, kick, call);
            var setup = new VirtqueueSetup(
                0,
                (uint)driver.Size,
                User(described.DescriptorTable),
                User(described.AvailableRing),
                User(described.UsedRing),
                described.Base.AvailableIndex,
                features);
            return DeviceVirtqueue.TryActivate(memory, setup, call, out _, out string why) ?? throw new InvalidOperationException(why);
        }

        private static UserAddress User(GuestAddress address) => new(address.Value + GuestRam.UserOffset);

        public void Do(int call)
        {
            switch (call)
            {
                case 0: Submit(); break;
                case 1: Publish(); break;
                case 2: Take(); break;
                case 3: Complete(); break;
                case 4: Flush(); break;
                case 5: Drain(); break;
                default: Arm(); break;
            }
        }

        public void Finish()
        {
            while (_submitted.Count + _taken.Count + _completed.Count + _flushed.Count > 0)
            {
                Publish();
                Take();
                Complete();
                Flush();
                Drain();
            }

            _driver.InFlight.Should().Be(0);
            _device.InFlight.Should().Be(0);
            _driver.FreeDescriptors.Should().Be(_driver.Size);
            _driver.Fault.Should().Be(VirtqueueFault.None, _driver.FaultDetail);
            _device.Fault.Should().Be(VirtqueueFault.None, _device.FaultDetail);
        }

        public void Dispose()
        {
            _device.Deactivate();
            _driver.Dispose();
            _call.Dispose();
            _memory.Dispose();
            _memory.Released.IsCompleted.Should().BeTrue();
        }

        private void Submit()
        {
            int count = _random.Next(1, Math.Min(_driver.Size, 4) + 1);
            int writable = _random.Next(0, count + 1);
            GuestBuffer[] read = Buffers(count - writable);
            GuestBuffer[] write = Buffers(writable);
            if (_driver.TrySubmit(read, write, _nextToken))
            {
                _submitted.Enqueue(_nextToken++);
            }
        }

        private void Publish()
        {
            int before = _published;
            _published = _submitted.Count;
            bool kick = _driver.Publish();
            if (_kickArmed && _published > before)
            {
                kick.Should().BeTrue("the device armed its kick and sleeps");
                _kickArmed = false;
            }
        }

        private void Take()
        {
            bool popped = _device.TryPop(out DescriptorChain chain);
            popped.Should().Be(_published > 0);
            if (popped)
            {
                _published--;
                _taken.Add((chain.Head, _submitted.Dequeue(), chain.Writable.Length));
            }
        }

        private void Complete()
        {
            if (_taken.Count > 0)
            {
                int which = _random.Next(_taken.Count);
                var (head, token, length) = _taken[which];
                _taken.RemoveAt(which);
                _device.Complete(head, length);
                _completed.Add(token, length);
            }
        }

        private void Flush()
        {
            int inFlight = _device.InFlight;
            _device.Flush();
            int shown = inFlight - _device.InFlight;
            bool called = _call.TryConsume();
            if (_callArmed && shown > 0)
            {
                called.Should().BeTrue("the driver armed its call and sleeps");
                _callArmed = false;
            }

            foreach ((ulong token, uint length) in _completed)
            {
                _flushed.Add(token, length);
            }

            _completed.Clear();
        }

        private void Drain()
        {
            int count = _driver.Drain(_buffer);
            _callArmed &= count == 0;
            for (int i = 0; i < count; i++)
            {
                _flushed.Remove(_buffer[i].Token, out uint length).Should().BeTrue("token {0} was completed once", _buffer[i].Token);
                _buffer[i].BytesWritten.Should().Be(length);
                _buffer[i].LengthClamped.Should().BeFalse();
            }
        }

        private void Arm()
        {
            _kickArmed = _device.ArmKick();
            _kickArmed.Should().Be(_published == 0);
            _callArmed = _driver.ArmCall();
            _call.TryConsume();
        }

        private GuestBuffer[] Buffers(int count) =>
            [.. Enumerable.Range(0, count).Select(i => new GuestBuffer(new GuestAddress(Data + ((ulong)i * 4096)), (uint)_random.Next(0, 600)))];
    }
}
