using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Conformance.Tests;

/// <summary>A device that may leave what it is given, and is slow, has until it says that the ring is stopped.</summary>
public sealed class SlowDeviceTests : IAsyncLifetime, IDisposable
{
    private readonly TempSocket _socket = new();
    private readonly VhostUserListener _listener;
    private BackendPeer _peer = null!;
    private VhostUserConnection _device = null!;
    private SplitDriverRing _ring = null!;

    public SlowDeviceTests() => _listener = VhostUserListener.Listen(_socket.Path);

    public async Task InitializeAsync()
    {
        BackendProfile profile = new(DeviceModel.ByName("blk")!, VirtioFeatures.None, VhostUserProtocolFeatures.None, 0, "");
        _peer = await BackendPeer.ConnectAsync(_socket.Path, profile, CaseNeeds.Nothing, new Dialogue(), new(TimeSpan.FromSeconds(10)));
        _device = await _listener.AcceptAsync().InTime();
        _ring = _peer.NewSplitRing(0);
        _ring.Offer(new ChainBuffer(_peer.Memory.Allocate(64), 64, true));
    }

    [Fact]
    public async Task What_it_uses_before_the_ring_is_stopped_counts()
    {
        Task<UsedBuffer?> served = _peer.ServedOrStoppedAsync(_ring);
        await IsToldToStopAsync();
        Use(0, 3);
        await AnswerAsync();

        (await served.InTime()).Should().Be(new UsedBuffer(0, 3));
        _peer.Refusal.Should().BeNull();
    }

    [Fact]
    public async Task One_that_has_stopped_it_uses_nothing_any_more()
    {
        Task<UsedBuffer?> served = _peer.ServedOrStoppedAsync(_ring);
        await IsToldToStopAsync();
        await AnswerAsync();

        (await served.InTime()).Should().BeNull();
    }

    [Fact]
    public async Task One_that_ends_the_connection_has_refused()
    {
        Task<UsedBuffer?> served = _peer.ServedOrStoppedAsync(_ring);
        await IsToldToStopAsync();
        _device.Abort();

        (await served.InTime()).Should().BeNull();
        _peer.Refusal.Should().Be("the connection was ended");
    }

    public async Task DisposeAsync()
    {
        await _peer.DisposeAsync();
        await _device.DisposeAsync();
        await _listener.DisposeAsync();
    }

    public void Dispose() => _socket.Dispose();

    private async Task IsToldToStopAsync()
    {
        using VhostUserMessage? message = await _device.ReceiveAsync().InTime();
        message!.Header.Request.Should().Be((uint)VhostUserRequest.GetVringBase);
    }

    private async Task AnswerAsync()
    {
        byte[] state = new byte[VhostUserVringState.Size];
        new VhostUserVringState(0, 1).Write(state);
        await _device.SendAsync(new VhostUserHeader((uint)VhostUserRequest.GetVringBase, (VhostUserHeaderFlags)5, (uint)state.Length), state);
    }

    private void Use(uint id, uint length)
    {
        _peer.Memory.Write(_ring.UsedRing + 4, id);
        _peer.Memory.Write(_ring.UsedRing + 8, length);
        _peer.Memory.Write(_ring.UsedRing + 2, (ushort)1);
    }
}
