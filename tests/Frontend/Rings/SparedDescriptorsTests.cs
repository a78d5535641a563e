using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>A driver that sends the same requests again and again, in a ring that is larger than they need.</summary>
public sealed class SparedDescriptorsTests : IDisposable
{
    private const int Size = 16;
    private const ulong Data = 0x8000;

    private readonly GuestMemory _memory = GuestRam.Create(0x10_0000);
    private readonly EventNotifier _notifier = new();
    private readonly DriverCompletion[] _completions = new DriverCompletion[Size];

    public void Dispose()
    {
        _notifier.Dispose();
        _memory.Dispose();
    }

    [Theory]
    [InlineData(VirtioFeatures.None, 6)]
    [InlineData(VirtioFeatures.InOrder, Size)]
    public void Only_as_many_descriptors_are_touched_as_are_in_flight_at_once_unless_the_ring_goes_in_order(VirtioFeatures order, int touched)
    {
        using DriverVirtqueue driver = Create(order);
        using RawSplitRing device = Device(driver);

        for (int round = 0; round < 5; round++)
        {
            SubmitTwo(driver);
            Answer(driver, device, 2);
        }

        Enumerable.Range(0, Size).Count(index => device.Read<ulong>(device.DescriptorTable.Value + (16UL * (ulong)index)) != 0).Should().Be(touched);
    }

    [Fact]
    public void All_of_the_ring_is_there_for_those_who_need_it()
    {
        using DriverVirtqueue driver = Create(VirtioFeatures.None);
        using RawSplitRing device = Device(driver);
        driver.FreeDescriptors.Should().Be(Size);
        SubmitTwo(driver);
        driver.FreeDescriptors.Should().Be(Size - 6);
        Submit(driver, Size - 6).Should().BeTrue();
        driver.FreeDescriptors.Should().Be(0);
        Submit(driver, 1).Should().BeFalse();
        Answer(driver, device, 3);
        driver.FreeDescriptors.Should().Be(Size);
        driver.SubmitBurst([.. Enumerable.Repeat(new GuestBuffer(new GuestAddress(Data), 8), Size)], deviceWrites: true, [.. Enumerable.Range(0, Size).Select(i => (ulong)i)])
            .Should().Be(Size);
        driver.FreeDescriptors.Should().Be(0);
        driver.Reset();
        driver.FreeDescriptors.Should().Be(Size);
    }

    private static void SubmitTwo(DriverVirtqueue driver)
    {
        Submit(driver, 3).Should().BeTrue();
        Submit(driver, 3).Should().BeTrue();
    }

    private static bool Submit(DriverVirtqueue driver, int buffers) =>
        driver.TrySubmit([.. Enumerable.Repeat(new GuestBuffer(new GuestAddress(Data), 64), buffers)], [], 0);

    private void Answer(DriverVirtqueue driver, RawSplitRing device, int requests)
    {
        driver.Publish();
        for (int i = 0; i < requests; i++)
            device.Use(device.Read<ushort>(device.AvailableRing.Value + 4 + (2UL * (device.UsedIndex % (ulong)Size))), 0);
        driver.Drain(_completions).Should().Be(requests);
    }

    private RawSplitRing Device(DriverVirtqueue driver)
    {
        VringSettings said = driver.Describe(0, _notifier, _notifier);
        return new RawSplitRing(_memory, said.DescriptorTable.Value, said.AvailableRing.Value, said.UsedRing.Value, Size);
    }

    private DriverVirtqueue Create(VirtioFeatures features) =>
        DriverVirtqueue.Create(_memory, default, new DriverVirtqueueOptions { Size = Size, SparesDescriptors = true }, features | VirtioFeatures.Version1);
}
