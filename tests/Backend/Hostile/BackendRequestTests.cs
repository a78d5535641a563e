using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

/// <summary>What the application asks of the front-end, and when it may not.</summary>
[Collection(ProcessCounts.Name)]
public class BackendRequestTests
{
    private static readonly VhostUserBackendOptions _doorbells = new()
    {
        AdditionalProtocolFeatures = VhostUserProtocolFeatures.HostNotifier,
        DrainTimeout = TimeSpan.FromSeconds(2),
    };

    [Fact]
    [Shows(
        Counterpart.Script,
        VhostUserBackendRequest.VringHostNotifierMsg, VhostUserBackendRequest.SharedObjectAdd, VhostUserBackendRequest.SharedObjectRemove,
        VhostUserBackendRequest.ShmemMap, VhostUserBackendRequest.ShmemUnmap, VhostUserProtocolFeatures.HostNotifier, VhostUserProtocolFeatures.BackendSendFd)]
    public async Task Each_method_sends_its_message_and_ends_with_the_acknowledgement()
    {
        SharingDevice device = new();
        await using SessionBench bench = await SessionBench.StartAsync(device, _doorbells);
        await using VhostUserConnection channel = await AttachChannelAsync(bench.Frontend);
        await RunAsync(bench);
        using EventNotifier file = new();
        VhostUserBackendRequests requests = bench.Backend.Requests;
        VhostUserShmemMap map = new(1, 0, 4096, 8192, VhostUserShmemMapFlags.ReadWrite);

        await ExpectAsync(channel, requests.AddSharedObjectAsync(device.Object), VhostUserBackendRequest.SharedObjectAdd, new VhostUserSharedObject(device.Object), descriptors: 0);
        await ExpectAsync(channel, requests.RemoveSharedObjectAsync(device.Object), VhostUserBackendRequest.SharedObjectRemove, new VhostUserSharedObject(device.Object), descriptors: 0);
        await ExpectAsync(channel, requests.MapSharedMemoryAsync(map, file.Descriptor), VhostUserBackendRequest.ShmemMap, map, descriptors: 1);
        await ExpectAsync(
            channel, requests.UnmapSharedMemoryAsync(1, 4096, 8192), VhostUserBackendRequest.ShmemUnmap, map with { Flags = VhostUserShmemMapFlags.ReadOnly }, descriptors: 0);
        await ExpectAsync(
            channel,
            requests.SetHostNotifierAsync(1, file.Descriptor, 4096),
            VhostUserBackendRequest.VringHostNotifierMsg,
            new VhostUserVringArea(VhostUserVringDescriptor.Create(1, noDescriptor: false), (ulong)Environment.SystemPageSize, 4096),
            descriptors: 1);
        await ExpectAsync(
            channel,
            requests.RemoveHostNotifierAsync(1),
            VhostUserBackendRequest.VringHostNotifierMsg,
            new VhostUserVringArea(VhostUserVringDescriptor.Create(1, noDescriptor: true), 0, 0),
            descriptors: 0);
    }

    [Fact]
    public async Task A_refusal_is_an_exception_and_the_channel_goes_on()
    {
        await using SessionBench bench = await SessionBench.StartAsync(new SharingDevice());
        await using VhostUserConnection channel = await AttachChannelAsync(bench.Frontend);
        await RunAsync(bench);
        for (int i = 0; i < 3; i++)
        {
            Task asked = bench.Backend.Requests.AddSharedObjectAsync(Guid.NewGuid()).AsTask();
            await AnswerAsync(channel, 7);
            (await asked.Awaiting(task => task.InTime()).Should().ThrowAsync<VhostUserRejectedException>()).Which.ReplyCode.Should().Be(7);
        }
    }

    [Fact]
    [Shows(Counterpart.Script, VhostUserBackendRequest.SharedObjectLookup)]
    public async Task A_lookup_gives_the_descriptor_and_tolerates_answers_without_one()
    {
        await using SessionBench bench = await SessionBench.StartAsync(new SharingDevice());
        await using VhostUserConnection channel = await AttachChannelAsync(bench.Frontend);
        await RunAsync(bench);
        using EventNotifier file = new();
        Task<SafeFileHandle?> asked = bench.Backend.Requests.FindSharedObjectAsync(Guid.NewGuid()).AsTask();
        await AnswerAsync(channel, 0, file.Descriptor);
        using (SafeFileHandle? found = await asked.InTime())
            found.Should().NotBeNull();

        asked = bench.Backend.Requests.FindSharedObjectAsync(Guid.NewGuid()).AsTask();
        await AnswerAsync(channel, 0); // QEMU
        (await asked.InTime()).Should().BeNull();
        asked = bench.Backend.Requests.FindSharedObjectAsync(Guid.NewGuid()).AsTask();
        await AnswerAsync(channel, 1, file.Descriptor);
        (await asked.InTime()).Should().BeNull("it says that there is none");
    }

    [Fact]
    public async Task A_suspended_device_and_one_without_channel_front_end_or_feature_says_so_and_sends_nothing()
    {
        await using SessionBench bench = await SessionBench.StartAsync(new SharingDevice());
        VhostUserBackendRequests requests = bench.Backend.Requests;
        Func<Task> add = async () => await requests.AddSharedObjectAsync(Guid.NewGuid());
        Func<Task> ring = async () => await requests.RemoveHostNotifierAsync(0);
        (await add.Should().ThrowAsync<VhostUserDisconnectedException>()).WithMessage("*no channel*");

        await using VhostUserConnection channel = await AttachChannelAsync(bench.Frontend);
        (await add.Should().ThrowAsync<InvalidOperationException>()).WithMessage("*suspended*");
        TestRing running = await RunAsync(bench);
        (await ring.Should().ThrowAsync<VhostUserFeatureException>()).Which.MissingProtocol.Should().Be(VhostUserProtocolFeatures.HostNotifier);
        await bench.Frontend.StopAsync(running);
        (await add.Should().ThrowAsync<InvalidOperationException>()).WithMessage("*suspended*");
        Task<VhostUserMessage?> nothing = channel.ReceiveAsync().AsTask();
        await bench.Frontend.BarrierAsync();
        nothing.IsCompleted.Should().BeFalse();

        await bench.Frontend.DisposeAsync();
        await bench.Served.InTime();
        (await add.Should().ThrowAsync<VhostUserDisconnectedException>()).WithMessage("No front-end*");
    }

    [Fact]
    public async Task A_channel_that_ends_while_something_is_asked_is_an_exception_and_the_session_goes_on()
    {
        await using SessionBench bench = await SessionBench.StartAsync(new SharingDevice());
        VhostUserConnection channel = await AttachChannelAsync(bench.Frontend);
        TestRing ring = await RunAsync(bench);
        Task asked = bench.Backend.Requests.AddSharedObjectAsync(Guid.NewGuid()).AsTask();
        (await channel.ReceiveAsync().InTime())!.Dispose();
        await channel.DisposeAsync();
        await asked.Awaiting(task => task.InTime()).Should().ThrowAsync<VhostUserException>();
        await ring.EchoAsync(1);
    }

    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.GetSharedObject, VhostUserProtocolFeatures.SharedObject)]
    public async Task The_front_end_fetches_an_object_by_number_and_gets_no_descriptor_where_there_is_none()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        SharingDevice device = new();
        using LogRecorder log = new();
        await using (SessionBench bench = await SessionBench.StartAsync(device, new VhostUserBackendOptions { LoggerFactory = log }))
        {
            (await FetchAsync(bench.Frontend, RawFrontend.Bytes(new VhostUserSharedObject(device.Object)))).Should().Be(1);
            (await FetchAsync(bench.Frontend, new byte[16])).Should().Be(0);
            (await FetchAsync(bench.Frontend, [])).Should().Be(0, "QEMU forgets the number");
            device.Throws = true;
            (await FetchAsync(bench.Frontend, new byte[16])).Should().Be(0);
            log.Lines.Should().Contain(line => line.Contains("refused: VHOST_USER_GET_SHARED_OBJECT") && line.Contains("told to fail"));
            bench.Backend.IsConnected.Should().BeTrue();
        }

        before.AssertBack();
    }

    [Theory]
    [InlineData(VhostUserRequest.GetSharedObject, 16)]
    [InlineData(VhostUserRequest.GetShmemConfig, 0)]
    public async Task Of_a_device_that_shares_nothing_nothing_is_asked(VhostUserRequest request, int size)
    {
        await using SessionBench bench = await SessionBench.StartAsync();
        bench.Backend.OfferedProtocolFeatures.Should().NotHaveFlag(VhostUserProtocolFeatures.SharedObject).And.NotHaveFlag(VhostUserProtocolFeatures.Shmem);
        await bench.Frontend.SendAsync(request, new byte[size]);
        await bench.Frontend.ExpectRefusedOrClosedAsync(request);
    }

    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.GetShmemConfig, VhostUserProtocolFeatures.Shmem)]
    public async Task The_regions_of_the_device_are_told_with_their_sizes()
    {
        SharingDevice device = new();
        await using SessionBench bench = await SessionBench.StartAsync(device);
        device.Throws = true; // it has told them before
        byte[] reply = await bench.Frontend.AskAsync(VhostUserRequest.GetShmemConfig);
        VhostUserShmemConfig.TryRead(reply, out VhostUserShmemConfig config).Should().BeTrue();
        (config[0], config[1], config[2], config[3], config[4]).Should().Be((0UL, 1UL << 20, 0UL, 1UL << 16, 0UL));
        BitConverter.ToUInt32(reply).Should().Be(2);
    }

    [Fact]
    public void Regions_that_are_no_pages_are_refused_before_anything_is_served()
    {
        Action make = () => _ = new VhostUserBackend(new SharingDevice { SharedMemorySizes = [100] });
        make.Should().Throw<ArgumentOutOfRangeException>().WithMessage("*SharedMemorySizes is 100*");
    }

    private static async Task<TestRing> RunAsync(SessionBench bench)
    {
        TestRing ring = await bench.RunAsync();
        await bench.Frontend.BarrierAsync();
        return ring;
    }

    private static async Task<int> FetchAsync(RawFrontend frontend, byte[] payload)
    {
        await frontend.SendAsync(VhostUserRequest.GetSharedObject, payload);
        using VhostUserMessage reply = await frontend.ReceiveAsync();
        reply.Header.Request.Should().Be((uint)VhostUserRequest.GetSharedObject);
        return reply.DescriptorCount;
    }

    private static async Task ExpectAsync<TPayload>(VhostUserConnection channel, ValueTask asking, VhostUserBackendRequest request, TPayload payload, int descriptors)
        where TPayload : struct, IVhostUserPayload<TPayload>
    {
        Task asked = asking.AsTask();
        using (VhostUserMessage? message = await channel.ReceiveAsync().InTime())
        {
            message!.Header.Should().Be(VhostUserHeader.ForRequest(request, payload.EncodedSize, needReply: true));
            message.Payload.ToArray().Should().Equal(RawFrontend.Bytes(payload));
            message.DescriptorCount.Should().Be(descriptors);
            asked.IsCompleted.Should().BeFalse();
            await channel.SendAsync(message.Header.AsReply(8), new byte[8]);
        }

        await asked.InTime();
    }

    private static async Task AnswerAsync(VhostUserConnection channel, ulong value, params System.Runtime.InteropServices.SafeHandle[] descriptors)
    {
        using VhostUserMessage? message = await channel.ReceiveAsync().InTime();
        await channel.SendAsync(message!.Header.AsReply(8), RawFrontend.U64(value), descriptors);
    }

    private static async Task<VhostUserConnection> AttachChannelAsync(RawFrontend frontend)
    {
        (SafeFileHandle ours, SafeFileHandle theirs) = Libc.UnixSocketPair();
        using (theirs)
            await frontend.AcceptedAsync(VhostUserRequest.SetBackendReqFd, default, theirs);
        return VhostUserConnection.Adopt(ours);
    }
}
