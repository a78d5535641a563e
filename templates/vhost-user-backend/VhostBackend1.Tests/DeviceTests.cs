using Vhost.Protocol;
using Xunit;

namespace VhostBackend1.Tests;

/// <summary>What the device answers.</summary>
public sealed class DeviceTests
{
    [Theory]
    [InlineData(VirtioFeatures.Version1)]
    [InlineData(VirtioFeatures.Version1 | VirtioFeatures.RingPacked)]
    public async Task What_is_written_can_be_read(VirtioFeatures features)
    {
        await using Driver driver = await Driver.StartAsync(new Device(), queues: 1, features);

        Assert.Equal("hello"u8.ToArray(), await driver.Queues[0].AskAsync("hello"u8.ToArray()));
    }

    [Fact]
    public async Task Queues_that_are_served_at_the_same_time_keep_their_bytes_apart()
    {
        await using Driver driver = await Driver.StartAsync(new Device(queues: 2), queues: 2, VirtioFeatures.Version1);

        await Task.WhenAll(driver.Queues.Select((queue, index) => Task.Run(async () =>
        {
            byte[] data = new byte[DriverQueue.MaxLength];
            Array.Fill(data, (byte)(index + 1));
            for (int request = 0; request < 200; request++)
                Assert.True((await queue.AskAsync(data)).AsSpan().SequenceEqual(data));
        })));
    }
}
