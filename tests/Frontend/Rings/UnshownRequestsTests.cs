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

    [Theory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(VirtioFeatures.RingPacked)]
    public void F13_a_number_that_fits_does_not_make_an_unshown_request_a_completion(VirtioFeatures format)
    {
        using DriverVirtqueue driver = Create(format);
        VringSettings said = driver.Describe(0, _notifier, _notifier);
        Submit(driver, 2);
        driver.Publish();
        Submit(driver, 2);
        Use(said, format, first: 1, second: 2);

        driver.Drain(_completions).Should().Be(1, "the second is named, but was never shown");

        driver.Fault.Should().Be(VirtqueueFault.UnknownCompletion);
        driver.FaultDetail.Should().Contain("id 2 is not a request in flight that the device was shown");
    }

    [Theory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(VirtioFeatures.RingPacked)]
    public void What_was_not_shown_at_one_drain_is_a_completion_once_it_was(VirtioFeatures format)
    {
        using DriverVirtqueue driver = Create(format);
        VringSettings said = driver.Describe(0, _notifier, _notifier);
        Submit(driver, 2);
        driver.Publish();
        Submit(driver, 2);
        driver.Drain(_completions).Should().Be(0);
        driver.Publish();
        Use(said, format, first: 2, second: 3);

        driver.Drain(_completions).Should().Be(2);

        driver.Fault.Should().Be(VirtqueueFault.None);
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

    private void Use(VringSettings said, VirtioFeatures format, ushort first, ushort second)
    {
        if (format.HasFlag(VirtioFeatures.RingPacked))
        {
            using RawPackedRing device = new(_memory, said.DescriptorTable.Value, said.AvailableRing.Value, said.UsedRing.Value, Size);
            device.Use(0, first, 8);
            device.Use(1, second, 8);
        }
        else
        {
            using RawSplitRing device = new(_memory, said.DescriptorTable.Value, said.AvailableRing.Value, said.UsedRing.Value, Size);
            device.Use(first, 8);
            device.Use(second, 8);
        }
    }

    private DriverVirtqueue Create(VirtioFeatures features) =>
        DriverVirtqueue.Create(_memory, default, new DriverVirtqueueOptions { Size = Size }, features | VirtioFeatures.Version1);
}
