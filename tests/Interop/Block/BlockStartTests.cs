using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>A client whose start fails half-way.</summary>
[Collection(ProcessCounts.Name)]
public sealed class BlockStartTests
{
    /// <summary>Each queue takes two descriptors; they run out at every one of them.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(4)]
    [InlineData(7)]
    public async Task What_was_made_before_the_descriptors_ran_out_is_given_back(int left)
    {
        using MemoryStorage storage = new(1 << 20);
        await (await BlockLoopback.StartAsync(storage)).DisposeAsync();
        ProcessCounts before = ProcessCounts.Snapshot();
        DescriptorLimit? limit = null;
        ScarceDevice device = new(new BlockDevice(storage, new BlockDeviceOptions { Queues = 4 }), () => limit = DescriptorLimit.Leaving(1 + left));
        (VhostUserConnection frontEnd, VhostUserConnection backEnd) = VhostUserConnection.CreatePair();
        await using (VhostUserBackend backend = new(device))
        {
            Task serving = Task.Run(() => backend.ServeAsync(backEnd));
            try
            {
                Func<Task> start = () => BlockClient.StartAsync(frontEnd, new BlockClientOptions { Queues = 4, Polled = left % 2 == 0 }).InTime();
                (await start.Should().ThrowAsync<LinuxException>()).Which.Errno.Should().Be(Libc.EMFILE);
            }
            finally
            {
                limit!.Dispose();
            }

            await serving.InTime();
        }

        before.AssertBack();
    }

    /// <summary>The configuration is the last thing that is asked for before the queues are made.</summary>
    private sealed class ScarceDevice(BlockDevice disk, Action whenAskedForConfig) : IVhostUserDevice
    {
        public int QueueCount => disk.QueueCount;

        public ushort MaxQueueSize => disk.MaxQueueSize;

        public VirtioFeatures Features => disk.Features;

        public int ConfigLength => disk.ConfigLength;

        public bool TryReadConfig(uint offset, Span<byte> destination)
        {
            bool read = disk.TryReadConfig(offset, destination);
            whenAskedForConfig();
            return read;
        }

        public void Configure(VirtioFeatures acknowledged) => disk.Configure(acknowledged);

        public void Process(DeviceVirtqueue queue) => disk.Process(queue);

        public void Reset() => disk.Reset();
    }
}
