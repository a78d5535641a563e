using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>A device that completes requests which it was not shown yet.</summary>
public sealed class UnshownRequestsTests : IDisposable
{
    private const int Size = 4;
    private const ulong Data = 0x8000;

    private readonly GuestMemory _memory = GuestRam.Create(0x10_0000);
    private readonly EventNotifier _notifier = new();
    private readonly DriverCompletion[] _completions = new DriverCompletion[2 * Size];

    public void Dispose()
    {
        _notifier.Dispose();
        _memory.Dispose();
    }

    [Theory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(VirtioFeatures.InOrder)]
    public void F13_on_a_packed_ring_they_break_the_queue_behind_what_was_shown(VirtioFeatures order)
    {
        using DriverVirtqueue driver = Create(VirtioFeatures.RingPacked | order);
        VringSettings said = driver.Describe(0, _notifier, _notifier);
        using RawPackedRing device = new(_memory, said.DescriptorTable.Value, said.AvailableRing.Value, said.UsedRing.Value, Size);
        Submit(driver, 2);
        driver.Publish();
        Submit(driver, 2);
        for (ushort i = 0; i < Size; i++)
            device.Use(i, i, 8);

        driver.Drain(_completions).Should().Be(2, "the other two are not the device's yet");

        driver.Fault.Should().Be(VirtqueueFault.UnknownCompletion);
        driver.FreeDescriptors.Should().Be(2, "what is staged never goes round the ring");
    }

    [Fact]
    public void F13_on_a_packed_ring_a_batch_that_goes_beyond_what_was_shown_breaks_the_queue()
    {
        using DriverVirtqueue driver = Create(VirtioFeatures.RingPacked | VirtioFeatures.InOrder);
        VringSettings said = driver.Describe(0, _notifier, _notifier);
        using RawPackedRing device = new(_memory, said.DescriptorTable.Value, said.AvailableRing.Value, said.UsedRing.Value, Size);
        Submit(driver, 2);
        driver.Publish();
        Submit(driver, 2);
        device.Use(0, 3, 8);

        driver.Drain(_completions).Should().BeLessThanOrEqualTo(2);

        driver.Fault.Should().Be(VirtqueueFault.UnknownCompletion);
    }

    [Theory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(VirtioFeatures.InOrder)]
    public void F12_on_a_split_ring_an_index_beyond_what_was_shown_breaks_the_queue(VirtioFeatures order)
    {
        using DriverVirtqueue driver = Create(order);
        VringSettings said = driver.Describe(0, _notifier, _notifier);
        using RawSplitRing device = new(_memory, said.DescriptorTable.Value, said.AvailableRing.Value, said.UsedRing.Value, Size);
        Submit(driver, 2);
        driver.Publish();
        Submit(driver, 2);
        for (uint i = 0; i < Size; i++)
            device.Use(i, 8);

        driver.Drain(_completions).Should().Be(0);

        driver.Fault.Should().Be(VirtqueueFault.IndexRunaway);
    }

    private static void Submit(DriverVirtqueue driver, int count)
    {
        for (int i = 0; i < count; i++)
            driver.SubmitBurst([new GuestBuffer(new GuestAddress(Data), 64)], deviceWrites: true, [(ulong)i]).Should().Be(1);
    }

    private DriverVirtqueue Create(VirtioFeatures features) =>
        DriverVirtqueue.Create(_memory, default, new DriverVirtqueueOptions { Size = Size }, features | VirtioFeatures.Version1);
}
