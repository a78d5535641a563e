namespace Vhost.Backend.Tests.Status;

/// <summary>Devices and options that no back-end can be made with.</summary>
public class OptionTests
{
    private const string Time = "more than 0 and at most 49 days";

    [Fact]
    public void An_option_that_is_out_of_its_range_is_named_with_its_value_and_the_range()
    {
        (VhostUserBackendOptions Options, string Complaint)[] wrong =
        [
            (new() { DrainTimeout = TimeSpan.Zero }, $"DrainTimeout is 00:00:00: must be {Time}."),
            (new() { DrainTimeout = Timeout.InfiniteTimeSpan }, $"DrainTimeout is -00:00:00.0010000: must be {Time}."),
            (new() { SendTimeout = TimeSpan.FromSeconds(-1) }, $"SendTimeout is -00:00:01: must be {Time}, or infinite."),
            (new() { SendTimeout = TimeSpan.FromDays(50) }, $"SendTimeout is 50.00:00:00: must be {Time}, or infinite."),
            (new() { IdleTimeout = TimeSpan.Zero }, $"IdleTimeout is 00:00:00: must be {Time}, or infinite."),
            (new() { Dispatch = (QueueDispatch)99 }, "Dispatch is 99: must be one of Async, DedicatedThread, BusyPoll, Application, SharedThreads."),
            (new() { MaxMemorySlots = 510 }, "MaxMemorySlots is 510: must be 1 to 509."),
            (new() { ViolationPause = TimeSpan.FromHours(2) }, "ViolationPause is 02:00:00: must be 00:00:00 to 01:00:00."),
        ];

        foreach ((VhostUserBackendOptions options, string complaint) in wrong)
            ShouldBeRefused(new EchoDevice(), options, complaint);
    }

    [Fact]
    public void A_device_that_cannot_be_served_is_told_why()
    {
        ShouldBeRefused(new EchoDevice(queues: 0), null, "QueueCount is 0: must be 1 to 256.");
        ShouldBeRefused(new EchoDevice(queues: 257), null, "QueueCount is 257: must be 1 to 256.");
        ShouldBeRefused(new EchoDevice { ConfigLength = 257 }, null, "ConfigLength is 257: must be 0 to 256.");
        foreach (ushort size in (ushort[])[0, 48, 32769])
            ShouldBeRefused(new EchoDevice { MaxQueueSize = size }, null, $"MaxQueueSize is {size}: must be a power of two from 1 to 32768.");
    }

    [Fact]
    public async Task What_lies_at_the_ends_of_the_ranges_is_taken()
    {
        await using VhostUserBackend backend = new(new EchoDevice(queues: 256) { MaxQueueSize = 1 }, new VhostUserBackendOptions
        {
            DrainTimeout = TimeSpan.FromDays(49),
            SendTimeout = Timeout.InfiniteTimeSpan,
            MaxMemorySlots = 1,
            ViolationPause = TimeSpan.Zero,
        });

        backend.IsConnected.Should().BeFalse();
    }

    private static void ShouldBeRefused(EchoDevice device, VhostUserBackendOptions? options, string complaint) =>
        FluentActions.Invoking(() => new VhostUserBackend(device, options)).Should().Throw<ArgumentOutOfRangeException>().WithMessage($"{complaint}*");
}
