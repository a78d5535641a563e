using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Proxy.Tests;

/// <summary>What still goes through a proxy when one of the peers has said its last.</summary>
[Collection(ProcessCounts.Name)]
public sealed class EndingTests
{
    /// <summary>Three of them do not fit into a socket, and do into two and the proxy between.</summary>
    private const int Long = 100_000;

    /// <summary>So many short ones that the proxy must have taken some.</summary>
    private const int MoreThanFit = 5000;

    [Theory]
    [InlineData(ProxySide.FrontEnd)]
    [InlineData(ProxySide.BackEnd)]
    public async Task What_one_has_said_before_it_went_reaches_the_other_that_reads_late_and_has_spoken_in_vain(ProxySide side)
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        await using (Ends ends = new(side))
        {
            for (byte i = 1; i <= 3; i++)
                await SayAsync(ends.Goes, i, Long);
            await ends.Goes.DisposeAsync();
            for (int i = 0; i < MoreThanFit; i++)
                await SayAsync(ends.Stays, 9, 8);

            for (byte i = 1; i <= 3; i++)
                (await ProxyBench.NextAsync(ends.Stays)).Payload.Should().HaveCount(Long).And.OnlyContain(value => value == i);
            await ExpectEndOrResetAsync(ends.Stays);
            await ends.Ended.InTime();
        }

        before.AssertBack();
    }

    [Theory]
    [InlineData(ProxySide.FrontEnd)]
    [InlineData(ProxySide.BackEnd)]
    public async Task One_that_has_ended_what_it_says_hears_the_other_out(ProxySide side)
    {
        await using Ends ends = new(side);
        await SayAsync(ends.Goes, 1, 8);
        ends.Goes.EndSending();
        (await ProxyBench.NextAsync(ends.Stays)).Payload.Should().HaveCount(8);
        await ProxyBench.ExpectEndAsync(ends.Stays);

        await SayAsync(ends.Stays, 2, 8);
        await SayAsync(ends.Stays, 3, 8);
        await ends.Stays.DisposeAsync();

        for (byte i = 2; i <= 3; i++)
            (await ProxyBench.NextAsync(ends.Goes)).Payload[0].Should().Be(i);
        await ProxyBench.ExpectEndAsync(ends.Goes);
        (await ends.Ended.InTime()).End.Should().Contain("closed the connection");
    }

    [Theory]
    [InlineData(5)]
    [InlineData(15)]
    public async Task A_part_of_a_message_arrives_as_a_part_with_its_descriptors(int bytes)
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        await using (Ends ends = new(ProxySide.FrontEnd))
        {
            byte[] said = new byte[VhostUserHeader.EncodedSize + 8];
            VhostUserHeader.ForRequest(VhostUserRequest.SetVringNum, 8).Write(said);
            using EventNotifier descriptor = new();
            await SayAsync(ends.Goes, 1, 8);
            await ends.Goes.SendRawAsync(said.AsMemory(0, bytes), new[] { descriptor.Descriptor }).AsTask().InTime();
            await ends.Goes.DisposeAsync();

            ends.Stays.KeepsCutOff = true;
            await ProxyBench.NextAsync(ends.Stays);
            await FluentActions.Awaiting(() => ends.Stays.ReceiveAsync().AsTask().InTime()).Should().ThrowAsync<VhostUserProtocolException>().WithMessage($"*after {bytes} bytes*");
            (byte[] Bytes, SafeFileHandle[] Descriptors)? part = ends.Stays.TakeCutOff();
            part!.Value.Bytes.Should().Equal(said[..bytes]);
            part.Value.Descriptors.Should().ContainSingle().Which.Dispose();
            (await ends.Ended.InTime()).End.Should().Be($"the front-end: {ends.Towards.Name}: the peer closed the connection after {bytes} bytes of a message; {(bytes < 12 ? "a header has 12 bytes" : "request 8 has 20 bytes")}.");
        }

        before.AssertBack();
    }

    private static Task SayAsync(VhostUserConnection from, byte value, int size)
    {
        byte[] payload = new byte[size];
        payload.AsSpan().Fill(value);
        return ProxyBench.AskAsync(from, VhostUserRequest.SetVringNum, payload);
    }

    /// <summary>A socket that is closed before all was read of it resets the other one, here as without a proxy.</summary>
    private static async Task ExpectEndOrResetAsync(VhostUserConnection at)
    {
        try
        {
            await ProxyBench.ExpectEndAsync(at);
        }
        catch (VhostUserDisconnectedException)
        {
            // It was reset.
        }
    }

    /// <summary>A proxy between sockets: of one that goes, and of one that stays.</summary>
    private sealed class Ends : IAsyncDisposable
    {
        private readonly CancellationTokenSource _stop = new();

        internal Ends(ProxySide goes)
        {
            (Goes, Towards) = Sockets();
            (Stays, VhostUserConnection other) = Sockets();
            Ended = goes == ProxySide.FrontEnd ? new VhostUserProxy().RunAsync(Towards, other, _stop.Token) : new VhostUserProxy().RunAsync(other, Towards, _stop.Token);
        }

        internal VhostUserConnection Goes { get; }

        internal VhostUserConnection Towards { get; }

        internal VhostUserConnection Stays { get; }

        internal Task<ProxySummary> Ended { get; }

        public async ValueTask DisposeAsync()
        {
            await _stop.CancelAsync();
            await Goes.DisposeAsync();
            await Stays.DisposeAsync();
            await Task.WhenAny(Ended).InTime();
            _stop.Dispose();
        }

        private static (VhostUserConnection, VhostUserConnection) Sockets()
        {
            (SafeFileHandle one, SafeFileHandle other) = Libc.UnixSocketPair();
            return (VhostUserConnection.Adopt(one, new VhostUserConnectionOptions { MaxPayload = 1 << 20 }), VhostUserConnection.Adopt(other, new VhostUserConnectionOptions { MaxPayload = 1 << 20, SendTimeout = Timeout.InfiniteTimeSpan }));
        }
    }
}
