using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Proxy;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Proxy;

/// <summary>Both of our halves with a proxy between them, and what it has recorded played to each of them.</summary>
[Collection(ProcessCounts.Name)]
public sealed class ProxyLoopbackTests : IDisposable
{
    private static readonly TimeSpan _patience = TimeSpan.FromSeconds(5);

    private readonly TempFolder _folder = new();
    private readonly MemoryStorage _storage = new(1 << 20);

    public void Dispose()
    {
        _storage.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public async Task A_disk_works_through_a_proxy_and_every_message_is_decoded()
    {
        (IReadOnlyList<ProxyMessage> messages, ProxySummary summary) = await RecordAsync();
        messages.Should().OnlyContain(static message => !message.Text.Contains("bytes 0", StringComparison.Ordinal) && !message.Text.Contains("malformed", StringComparison.Ordinal));
        messages.Select(static message => (VhostUserRequest)message.Header.Request).Should().Contain([VhostUserRequest.SetOwner, VhostUserRequest.GetConfig, VhostUserRequest.SetVringKick]);
        messages.Where(static message => message.From == ProxySide.BackEnd && message.Channel == VhostUserChannel.Main).Should().OnlyContain(static reply => reply.Answers != null);
        (summary.Refused, summary.Memory.Regions).Should().Be((0, 1));
        summary.Rings.Should().ContainSingle().Which.Should().Match<ProxyRing>(static ring => ring.IsStarted && ring.Size > 0);
        summary.Negotiated.Features.Should().HaveFlag(VirtioFeatures.Version1);
    }

    [Fact]
    public async Task What_was_recorded_is_said_again_to_either_half_and_comes_as_it_came()
    {
        (IReadOnlyList<ProxyMessage> messages, _) = await RecordAsync();
        await using VhostUserBackend backend = new(new BlockDevice(_storage));
        (VhostUserConnection peer, VhostUserConnection served) = VhostUserConnection.CreatePair();
        Task serving = backend.ServeAsync(served);

        ReplayResult result = await Replayer.PlayAsync(messages, 1, ProxySide.FrontEnd, peer, _patience);

        result.Difference.Should().BeNull();
        result.Compared.Should().Be(messages.Count(static message => message.From == ProxySide.BackEnd && message.Channel == VhostUserChannel.Main));
        await peer.DisposeAsync();
        await serving.InTime();

        (VhostUserConnection used, VhostUserConnection played) = VhostUserConnection.CreatePair();
        Task<ReplayResult> playing = Replayer.PlayAsync(messages, 1, ProxySide.BackEnd, played, _patience);
        await using (BlockClient client = await BlockClient.StartAsync(used, new BlockClientOptions()).AsTask().InTime())
            client.CapacityBytes.Should().Be(1 << 20);
        result = await playing.InTime();
        result.Difference.Should().BeNull();
        result.Compared.Should().Be(messages.Count(static message => message.From == ProxySide.FrontEnd && message.Channel == VhostUserChannel.Main));
        await played.DisposeAsync();
    }

    [Fact]
    public async Task A_back_end_that_answers_otherwise_is_found_at_its_first_answer()
    {
        (IReadOnlyList<ProxyMessage> messages, _) = await RecordAsync();
        await using VhostUserBackend backend = new(new BlockDevice(_storage, new BlockDeviceOptions { ReadOnly = true }));
        (VhostUserConnection peer, VhostUserConnection served) = VhostUserConnection.CreatePair();
        Task serving = backend.ServeAsync(served);

        ReplayResult result = await Replayer.PlayAsync(messages, 1, ProxySide.FrontEnd, peer, _patience);

        result.Difference.Should().NotBeNull();
        result.Difference!.Expected.Should().StartWith("VHOST_USER_GET_FEATURES reply");
        result.Difference.Got.Should().StartWith("VHOST_USER_GET_FEATURES reply").And.NotBe(result.Difference.Expected);
        await peer.DisposeAsync();
        await serving.InTime();
    }

    /// <summary>A guest that writes, reads and stops, through a proxy whose recording was written and read.</summary>
    private async Task<(IReadOnlyList<ProxyMessage> Messages, ProxySummary Summary)> RecordAsync()
    {
        using MemoryStream file = new();
        RecordingWriter recording = new(file);
        VhostUserProxy proxy = new(new VhostUserProxyOptions { Observer = recording.Write });
        await using VhostUserBackend backend = new(new BlockDevice(_storage));
        (VhostUserConnection frontEnd, VhostUserConnection towardsFrontEnd) = VhostUserConnection.CreatePair();
        (VhostUserConnection towardsBackEnd, VhostUserConnection backEnd) = VhostUserConnection.CreatePair();
        Task serving = backend.ServeAsync(backEnd);
        Task<ProxySummary> running = proxy.RunAsync(towardsFrontEnd, towardsBackEnd);
        await using (BlockClient client = await BlockClient.StartAsync(frontEnd, new BlockClientOptions()).AsTask().InTime())
        {
            byte[] written = [.. Enumerable.Range(0, 4096).Select(static i => (byte)i)];
            await client.WriteAsync(8192, written).InTime();
            byte[] read = new byte[4096];
            await client.ReadAsync(8192, read).InTime();
            read.Should().Equal(written);
        }

        ProxySummary summary = await running.InTime();
        await serving.InTime();
        return (RecordingReader.Read(new StringReader(System.Text.Encoding.UTF8.GetString(file.ToArray()))), summary);
    }
}
