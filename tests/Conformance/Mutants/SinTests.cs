using Vhost.Frontend;
using Vhost.Protocol;

namespace Vhost.Conformance.Tests.Mutants;

/// <summary>Whatever a sin does to its front-end, it does nothing to this process.</summary>
public sealed class SinTests
{
    public static TheoryData<Sin> All => [.. Mutants.All.Select(static mutant => mutant.Sin)];

    [Theory]
    [MemberData(nameof(All))]
    public async Task A_sin_harms_its_own_back_end_alone(Sin sin)
    {
        HandBackend backend = new(sin);
        await TryAsync(backend, VirtioFeatures.EventIndex);
        await TryAsync(backend, VirtioFeatures.RingPacked);

        await backend.DisposeAsync().AsTask().WaitAsync(TimeSpan.FromSeconds(10));

        backend.Surprises.Should().BeEmpty();
    }

    private static async Task TryAsync(HandBackend backend, VirtioFeatures rings)
    {
        BlockClientOptions options = new()
        {
            RingFeatures = rings,
            Queues = 2,
            QueueSize = 16,
            ReplyTimeout = TimeSpan.FromMilliseconds(300),
            RequestTimeout = TimeSpan.FromMilliseconds(300),
        };
        try
        {
            await using BlockClient client = await BlockClient.ConnectAsync(backend.SocketPath, options).AsTask().WaitAsync(TimeSpan.FromSeconds(3));
            for (ulong i = 0; i < 20; i++) await client.WriteAsync(i * 4096, new byte[4096]);
            await client.ReadAsync(0, new byte[65536]);
        }
        catch (Exception e) when (e is IOException or ArgumentException or InvalidOperationException or TimeoutException)
        {
            // What a sin is good for.
        }
    }
}
