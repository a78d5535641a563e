using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Conformance.Tests;

/// <summary>This library's own block front-end, examined as any other: connected, used and disposed again and again, or left to reconnect by itself.</summary>
public sealed class OwnFrontendTests
{
    private const int BlockSize = 512;

    private static readonly TimeSpan _pause = TimeSpan.FromMilliseconds(2);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task The_block_client_fails_no_case(bool reconnects)
    {
        IReadOnlyList<ConformanceResult> results = await ExamineAsync(reconnects, VirtioFeatures.EventIndex, "*");

        results.Count(static result => result.Verdict != ConformanceVerdict.Skip).Should().BeGreaterThanOrEqualTo(80);
    }

    [Fact]
    public async Task The_block_client_fails_no_case_with_packed_rings()
    {
        IReadOnlyList<ConformanceResult> results = await ExamineAsync(false, VirtioFeatures.RingPacked, "completions/packed,completions/f13-*");

        results.Should().HaveCountGreaterThan(5).And.NotContain(static result => result.Verdict == ConformanceVerdict.Skip);
    }

    /// <returns>The findings, of which none is a fault.</returns>
    private static async Task<IReadOnlyList<ConformanceResult>> ExamineAsync(bool reconnects, VirtioFeatures rings, string only)
    {
        using TempSocket socket = new();
        using CancellationTokenSource enough = new();
        Task<Exception?> client = Task.Run(() => ConnectForeverAsync(socket.Path, reconnects, rings, enough.Token));

        ConformanceReport report = await new FrontendSuite(new() { SocketPath = socket.Path, Only = only, Timeout = TimeSpan.FromSeconds(10) }).RunAsync();

        await enough.CancelAsync();
        (await client.WaitAsync(TimeSpan.FromSeconds(20))).Should().BeNull();
        report.Results.Where(static result => result.Verdict is ConformanceVerdict.Fail or ConformanceVerdict.Wedged).Select(Text).Should().BeEmpty();
        return report.Results;
    }

    /// <returns>What a back-end should not have been able to bring about; null: nothing.</returns>
    private static async Task<Exception?> ConnectForeverAsync(string socketPath, bool reconnects, VirtioFeatures rings, CancellationToken enough)
    {
        BlockClientOptions options = new()
        {
            IndirectBuffers = 8,
            RingFeatures = rings,
            QueueSize = 16,
            BufferSize = 4096,
            ReplyTimeout = TimeSpan.FromSeconds(1),
            RequestTimeout = TimeSpan.FromSeconds(1),
            Reconnect = reconnects ? new ReconnectPolicy { Delay = _pause, Limit = TimeSpan.FromSeconds(3) } : null,
            Connect = new() { RetryFor = TimeSpan.FromSeconds(5), RetryDelay = _pause },
        };
        while (!enough.IsCancellationRequested)
        {
            try
            {
                await using BlockClient client = await BlockClient.ConnectAsync(socketPath, options, enough);
                byte[] block = new byte[BlockSize];
                while (true)
                    await client.ReadAsync(0, block, cancellationToken: enough);
            }
            catch (Exception e) when (e is IOException or OperationCanceledException or TimeoutException or InvalidOperationException)
            {
                // Each of them is how the library says what the back-end did.
            }
            catch (Exception unexpected)
            {
                return unexpected;
            }
        }

        return null;
    }

    private static string Text(ConformanceResult result) =>
        $"{result.Case.Id}: {result.Verdict}, expected {result.Expected}, came {result.Came}\n{string.Join('\n', result.Dialogue.Select(static line => line.Text))}";
}
