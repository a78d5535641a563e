using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>A client that is told of other sizes faster than it can ask for them, or tell of them.</summary>
public sealed class ConsoleSizeTests
{
    [Fact]
    public async Task F09_changes_without_end_are_one_question_at_a_time()
    {
        HeldConsole device = new();
        await using VhostUserBackend backend = new(device);
        await using ConsoleClient client = await ConsoleClient.StartAsync(Serve(backend)).InTime();
        int changes = 0;
        client.Frontend.ConfigChanged += (_, _) => Interlocked.Increment(ref changes);
        int before = device.Reads;
        device.Holds.Reset();
        for (int i = 1; i <= 100; i++)
        {
            int said = i;
            await backend.NotifyConfigChangedAsync().AsTask().InTime();
            await Eventually.TrueAsync(() => Volatile.Read(ref changes) == said);
        }

        device.Holds.Set();
        await client.Frontend.ReadConfigAsync(0, new byte[4]).AsTask().InTime();

        (device.Reads - before).Should().BeLessThanOrEqualTo(3, "that of the first change, one for all that came meanwhile, and ours");
    }

    [Fact]
    public async Task F09_a_slow_listener_is_told_once_more_and_of_the_newest_size()
    {
        HeldConsole device = new();
        await using VhostUserBackend backend = new(device);
        await using ConsoleClient client = await ConsoleClient.StartAsync(Serve(backend)).InTime();
        using ManualResetEventSlim returns = new();
        List<int> told = [];
        int inside = 0;
        client.SizeChanged += (_, _) =>
        {
            Interlocked.Increment(ref inside).Should().Be(1);
            lock (told)
                told.Add(client.Size.Columns);
            returns.Wait(TimeSpan.FromSeconds(10));
            Interlocked.Decrement(ref inside);
        };

        for (ushort columns = 1; columns <= 50; columns++)
        {
            await ResizeAsync(columns);
            await Eventually.TrueAsync(() => Told().Count > 0);
        }

        Told().Should().Equal(1);
        returns.Set();
        await Eventually.TrueAsync(() => Told().Count == 2);
        await ResizeAsync(100);
        await Eventually.TrueAsync(() => Told().Count == 3);
        Told().Should().Equal(1, 50, 100);

        async Task ResizeAsync(ushort columns)
        {
            await device.Console.ResizeAsync(new ConsoleSize(columns, 1), backend).AsTask().InTime();
            await Eventually.TrueAsync(() => client.Size.Columns == columns);
        }

        List<int> Told()
        {
            lock (told)
                return [.. told];
        }
    }

    private static VhostUserConnection Serve(VhostUserBackend backend)
    {
        (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
        _ = Task.Run(() => backend.ServeAsync(back));
        return front;
    }

    /// <summary>A console that can be kept from giving its configuration.</summary>
    private sealed class HeldConsole : IVhostUserDevice
    {
        private int _reads;

        internal ConsoleDevice Console { get; } = new(new ConsoleDeviceOptions { Size = new ConsoleSize(200, 1) });

        private IVhostUserDevice Inner => Console;

        internal ManualResetEventSlim Holds { get; } = new(initialState: true);

        internal int Reads => Volatile.Read(ref _reads);

        public int QueueCount => Inner.QueueCount;

        public ushort MaxQueueSize => Inner.MaxQueueSize;

        public VirtioFeatures Features => Inner.Features;

        public int ConfigLength => Inner.ConfigLength;

        public bool TryReadConfig(uint offset, Span<byte> destination)
        {
            Interlocked.Increment(ref _reads);
            Holds.Wait(TimeSpan.FromSeconds(10));
            return Inner.TryReadConfig(offset, destination);
        }

        public bool TryWriteConfig(uint offset, ReadOnlySpan<byte> source) => Inner.TryWriteConfig(offset, source);

        public void Configure(VirtioFeatures acknowledged) => Inner.Configure(acknowledged);

        public void Process(DeviceVirtqueue queue) => Inner.Process(queue);

        public void Reset() => Inner.Reset();
    }
}
