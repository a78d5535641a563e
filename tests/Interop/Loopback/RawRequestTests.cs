using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Loopback;

/// <summary>Messages that a session sends seldom or never by itself: the application says them, and our back-end acts on them.</summary>
public sealed class RawRequestTests
{
    [Fact]
    [Shows(Counterpart.Loopback, VhostUserRequest.ResetOwner)]
    public async Task RESET_OWNER_stops_the_rings_and_brings_the_device_back_to_its_beginning()
    {
        await using EchoPair pair = await EchoPair.StartAsync();
        await pair.EchoAsync(1);
        (pair.Queue.State, pair.Queue.Size, pair.Device.Resets).Should().Be((QueueState.Running, 16, 0));

        await pair.Frontend.Requests.ResetOwnerAsync();

        (pair.Queue.State, pair.Queue.Size, pair.Device.Resets).Should().Be((QueueState.Stopped, 0, 1));
        pair.Queue.Address.Should().BeNull();
        BackendStatus status = pair.Backend.GetStatus()!;
        status.Features.Should().Be(VirtioFeatures.None);
        status.Memory.Should().ContainSingle("memory stays");
    }

    [Fact]
    [Shows(Counterpart.Loopback, VhostUserRequest.SetLogFd)]
    public async Task SET_LOG_FD_gives_a_descriptor_that_is_signalled_when_a_page_was_written()
    {
        using EventNotifier written = new();
        await using EchoPair pair = await EchoPair.StartAsync(VhostUserProtocolFeatures.LogShmFd);
        await pair.Frontend.StartLoggingAsync();
        await pair.EchoAsync(1);
        written.TryConsume().Should().BeFalse("the back-end does not have it yet");

        await pair.Frontend.Requests.SetLogFdAsync(written.Descriptor);

        await pair.EchoAsync(2);
        await written.WaitAsync().InTime();
        pair.Frontend.TakeDirty(default, 1 << 20, new ulong[4]).Should().BePositive();
    }

    [Fact]
    [Shows(Counterpart.Loopback, VhostUserRequest.SetVringErr)]
    public async Task SET_VRING_ERR_gives_a_descriptor_that_is_signalled_when_the_device_throws()
    {
        await using EchoPair pair = await EchoPair.StartAsync();
        await pair.EchoAsync(1);
        pair.Error.TryConsume().Should().BeFalse();
        pair.Device.Throws = true;

        pair.Submit(2);

        await pair.Error.WaitAsync().InTime();
        pair.Queue.State.Should().Be(QueueState.Broken);
        pair.Log.Exceptions.Should().Contain(thrown => thrown is InvalidOperationException);
    }

    [Fact]
    [Shows(Counterpart.Loopback, VhostUserRequest.SetVringEndian, VhostUserProtocolFeatures.CrossEndian)]
    public async Task SET_VRING_ENDIAN_takes_little_endian_rings_and_says_why_it_takes_no_others()
    {
        VhostUserBackendOptions asked = new() { AdditionalProtocolFeatures = VhostUserProtocolFeatures.CrossEndian };
        await using EchoPair pair = await EchoPair.NegotiateAsync(VhostUserProtocolFeatures.CrossEndian, asked);
        VhostUserRequestClient requests = pair.Frontend.Requests;
        await pair.Frontend.SetFeaturesAsync(VirtioFeatures.None); // without VERSION_1: a legacy device

        await requests.SetVringEndianAsync(0, bigEndian: false);
        await requests.SetVringEndianAsync(1, bigEndian: false);

        await RefusedAsync(() => requests.SetVringEndianAsync(1, bigEndian: true).AsTask());
        pair.Log.Lines.Should().ContainSingle(line => line.Contains("queue 1: big-endian rings are not served, only little-endian ones", StringComparison.Ordinal));
        await RefusedAsync(() => requests.SetVringEndianAsync(2, bigEndian: false).AsTask());
        pair.Log.Lines.Should().ContainSingle(line => line.Contains("queue index 2 is out of range", StringComparison.Ordinal));
    }

    [Fact]
    public async Task The_byte_order_of_rings_is_offered_on_request_alone_and_refused_without()
    {
        await using EchoPair pair = await EchoPair.NegotiateAsync();

        pair.Frontend.OfferedProtocolFeatures.Should().NotHaveFlag(VhostUserProtocolFeatures.CrossEndian);
        await RefusedAsync(() => pair.Frontend.Requests.SetVringEndianAsync(0, bigEndian: false).AsTask());
    }

    private static async Task RefusedAsync(Func<Task> request) => await request.Should().ThrowAsync<VhostUserRejectedException>();
}
