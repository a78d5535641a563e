using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>Both halves of one ring, and memory for buffers.</summary>
internal sealed class RingPair : IDisposable
{
    private readonly EventNotifier _call = new();

    internal RingPair(VirtioFeatures features, int size)
    {
        Driver = DriverVirtqueue.Create(Memory, default, new DriverVirtqueueOptions { Size = (ushort)size }, features);
        Device = ModelledRing.Activate(Memory, Driver, features, _call);
    }

    internal GuestMemory Memory { get; } = GuestRam.Create(0x20_0000);

    internal DriverVirtqueue Driver { get; }

    internal DeviceVirtqueue Device { get; }

    /// <summary>Buffers of 100 bytes.</summary>
    internal static GuestBuffer[] Buffers(int count) =>
        [.. Enumerable.Range(0, count).Select(i => new GuestBuffer(new GuestAddress(0x10_0000 + ((ulong)i * 256)), 100))];

    internal static ulong[] Tokens(ulong first, int count) => [.. Enumerable.Range(0, count).Select(i => first + (ulong)i)];

    public void Dispose()
    {
        Device.Deactivate();
        Driver.Dispose();
        _call.Dispose();
        Memory.Dispose();
        Memory.Released.IsCompleted.Should().BeTrue();
    }

    /// <summary>Offers requests of one buffer each and shows them to the device.</summary>
    internal void Offer(ulong first, int count, bool deviceWrites = true)
    {
        Driver.SubmitBurst(Buffers(count), deviceWrites, Tokens(first, count)).Should().Be(count);
        Driver.Publish();
    }

    internal DriverCompletion[] Collect()
    {
        DriverCompletion[] done = new DriverCompletion[Driver.Size];
        return done[..Driver.Drain(done)];
    }
}
