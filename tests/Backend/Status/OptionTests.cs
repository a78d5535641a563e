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
            (new() { MaxMemoryBytes = 0 }, "MaxMemoryBytes is 0: must be 1 or more."),
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

    /// <summary>A disk in "Application" mode would look served, and its guest would hang.</summary>
    [Fact]
    public void Queues_that_nobody_would_serve_are_refused()
    {
        VhostUserBackendOptions application = new() { Dispatch = QueueDispatch.Application };
        Refusal(new BlockDevice(new NullStorage(512)), application).Should().Be("Dispatch is Application: BlockDevice does not implement IApplicationServedDevice, so nobody would serve a queue with Application.");
        Refusal(new NetDevice(handler: new Silent()), application).Should().Contain("INetHandler");
        Refusal(new NetDevice(), application).Should().BeNull();
    }

    [Fact]
    public void Threads_and_processors_without_effect_are_refused()
    {
        using QueueThreads threads = new(1);
        Refusal(new EchoDevice(), new VhostUserBackendOptions { Threads = threads }).Should().Be("Threads have no effect: the queues of EchoDevice are served with Async, and only SharedThreads takes them.");
        Refusal(new EchoDevice(), new VhostUserBackendOptions { ThreadOf = static _ => 0 }).Should().Be("ThreadOf has no effect: there are no Threads to choose from.");
        Refusal(new EchoDevice(), new VhostUserBackendOptions { Processors = [0] }).Should().StartWith("Processors have no effect: the queues of EchoDevice are served with Async,");
        Refusal(new EchoDevice(), new VhostUserBackendOptions { Processors = [0], Dispatch = QueueDispatch.SharedThreads, Threads = threads }).Should().StartWith("Processors have no effect");
        Refusal(new NetDevice(), new VhostUserBackendOptions { Processors = [0], Dispatch = QueueDispatch.BusyPoll }).Should().StartWith(
            "Processors have no effect: the queues of NetDevice are served with Application,", "without a handler its ports are the application's");
    }

    [Fact]
    public void A_processor_that_this_process_has_not_is_refused_with_those_that_it_has()
    {
        string allowed = string.Join(',', QueueThreads.AllowedProcessors);
        foreach (int processor in (int[])[-1, 1023, 5000])
        {
            string complaint = $"this process cannot run on {processor}, only on {allowed}.";
            Refusal(new EchoDevice(), new VhostUserBackendOptions { Processors = [QueueThreads.AllowedProcessors[0], processor], Dispatch = QueueDispatch.BusyPoll }).Should().EndWith(complaint);
            FluentActions.Invoking(() => new QueueThreads(1, [processor])).Should().Throw<ArgumentException>().WithMessage($"*{complaint}");
        }
    }

    [Fact]
    public void Which_processors_there_are_does_not_depend_on_where_the_caller_is_bound()
    {
        IReadOnlyList<int> all = QueueThreads.AllowedProcessors;
        IReadOnlyList<int> seen = [];
        Thread bound = new(() =>
        {
            Protocol.Libc.BindThreadToProcessors(all[^1]).Should().Be(0);
            seen = QueueThreads.AllowedProcessors;
        });
        bound.Start();
        bound.Join();

        seen.Should().Equal(all).And.NotBeEmpty();
    }

    [Fact]
    public async Task A_device_belongs_to_one_back_end_at_a_time()
    {
        EchoDevice device = new();
        VhostUserBackend first = new(device, new VhostUserBackendOptions { Name = "first" });
        Refusal(device, null).Should().Be("This EchoDevice belongs to another back-end (first) until that is disposed. Give each back-end a device of its own.");

        await first.DisposeAsync();

        await using VhostUserBackend second = new(device);
        await first.DisposeAsync();
        Refusal(device, null).Should().NotBeNull("disposing the first one again gives nothing of the second one back");
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

    /// <summary>What is said against these options; null: nothing.</summary>
    private static string? Refusal(IVhostUserDevice device, VhostUserBackendOptions? options)
    {
        try
        {
            _ = new VhostUserBackend(device, options);
            return null;
        }
        catch (Exception e) when (e is ArgumentException or InvalidOperationException)
        {
            return e.Message.Split(" (Parameter")[0];
        }
    }

    private sealed class Silent : INetHandler
    {
        public void FromGuest(NetPort port)
        {
        }

        public void ToGuest(NetPort port)
        {
        }
    }
}
