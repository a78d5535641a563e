using System.Runtime.InteropServices;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>The raw layer: what each of the 45 methods puts on the wire, and what it makes of the answer.</summary>
[Collection(ProcessCounts.Name)]
public sealed class RequestClientTests : IDisposable
{
    private static readonly Guid _id = new("00112233-4455-6677-8899-aabbccddeeff");
    private static readonly VhostUserMemoryRegion _region = new(new(0x1000), 0x2000, new(0x7000), 0x10);
    private static readonly EventNotifier _memory = new();
    private readonly EventNotifier _descriptor = new();

    // Explicit, so that the descriptor all tests share is there before any of them counts.
    static RequestClientTests()
    {
    }

    public static TheoryData<string> Calls => [.. MethodCall.All.Select(static call => call.Name)];

    public void Dispose() => _descriptor.Dispose();

    [Fact]
    public void Every_request_has_a_method() => MethodCall.All.Select(static call => call.Request).Distinct().Should().BeEquivalentTo(Enum.GetValues<VhostUserRequest>());

    [Theory]
    [MemberData(nameof(Calls))]
    [Shows(
        Counterpart.Script,
        VhostUserRequest.ResetOwner, VhostUserRequest.SetLogFd, VhostUserRequest.SendRarp, VhostUserRequest.NetSetMtu, VhostUserRequest.SetVringEndian,
        VhostUserRequest.CreateCryptoSession, VhostUserRequest.CloseCryptoSession, VhostUserRequest.GpuSetSocket)]
    public async Task Each_method_sends_what_the_specification_says(string name)
    {
        MethodCall call = MethodCall.All.Single(one => one.Name == name);
        MessageContracts.TryGet(call.Request, out MessageContract? contract).Should().BeTrue();
        using SharedMemory file = SharedMemory.CreateSealed("the one that is given", 4096);
        ProcessCounts before = ProcessCounts.Snapshot();
        foreach (AcknowledgementPolicy policy in Enum.GetValues<AcknowledgementPolicy>())
        {
            await using Raw raw = Raw.Start(Answer);
            raw.Client.Acknowledgements = policy;
            await call.Send(raw.Client, file.Descriptor).InTime();
            ScriptedRequest sent = await raw.Backend.WhenAsync(call.Request);
            sent.Payload.Should().Equal(call.Payload);
            sent.Flags.Should().Be(VhostUserHeaderFlags.Version1 | (call.Asks(policy) ? VhostUserHeaderFlags.NeedReply : 0), "policy {0}", policy);
            sent.Descriptors.Select(DescriptorInfo.FileNumber).Should().Equal(Enumerable.Repeat(DescriptorInfo.FileNumber(file.Descriptor), call.Descriptors));
            contract!.Payload.Contains((uint)sent.Payload.Length).Should().BeTrue("{0} bytes went out", sent.Payload.Length);
        }

        before.AssertBack();
    }

    [Fact]
    public async Task Replies_are_decoded()
    {
        await using Raw raw = Raw.Start(Answer);
        VhostUserRequestClient client = raw.Client;
        (await client.GetQueueNumAsync()).Should().Be(17);
        (await client.GetMaxMemSlotsAsync()).Should().Be(17);
        (await client.GetStatusAsync()).Should().Be(17);
        (await client.CheckDeviceStateAsync()).Should().Be(17);
        (await client.GetProtocolFeaturesAsync()).Should().Be((VhostUserProtocolFeatures)17);
        (await client.GetVringBaseAsync(3)).Should().Be(new VhostUserVringState(3, 99));
        (await client.GetVringBaseSkipDrainAsync(4)).Should().Be(new VhostUserVringState(4, 99));
        (await client.GetShmemConfigAsync()).Should().HaveCount(256).And.HaveElementAt(5, 0x1000);
        (await client.CreateCryptoSessionAsync(new byte[632])).Should().HaveCount(632);

        VhostUserConfigReply config = await client.GetConfigAsync(4, 8);
        config.Header.Offset.Should().Be(4);
        config.Window.Length.Should().Be(8);
        config.IsRefusal.Should().BeFalse();

        VhostUserInflightReply inflight = await client.GetInflightFdAsync(new VhostUserInflight(0, 0, 2, 128));
        using (inflight.Descriptor)
            inflight.Area.Should().Be(new VhostUserInflight(4096, 0, 2, 128));
        DeviceStateTransfer transfer = await client.SetDeviceStateFdAsync(
            new VhostUserDeviceState(VhostUserTransferDirection.Save, VhostUserTransferPhase.Stopped), _descriptor.Descriptor);
        using (transfer.Descriptor)
            transfer.Reply.Error.Should().Be(17);
        (await client.GetSharedObjectAsync(_id))!.Dispose();
        (await client.PostcopyAdviseAsync()).Dispose();
        (await client.SetMemTableForPostcopyAsync([_region], new SafeHandle[] { _descriptor.Descriptor })).Should().Equal(_region);
        (await client.AddMemRegForPostcopyAsync(new VhostUserSingleRegion(_region), _descriptor.Descriptor)).Region.Should().Be(_region);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(8)]
    [InlineData(16)]
    [Shows(Counterpart.Script, VhostUserRequest.SetLogBase)]
    public async Task SET_LOG_BASE_takes_every_reply_that_peers_send(int size)
    {
        await using Raw raw = Raw.Start(request => Misbehaviour.Reply(request.Code, new byte[size]));
        await raw.Client.SetLogBaseAsync(new VhostUserLog(4096, 0), _descriptor.Descriptor).InTime();
    }

    /// <summary>libvhost-user answers with the first eight bytes of what it was sent.</summary>
    [Fact]
    public async Task SET_LOG_BASE_takes_the_size_of_the_log_for_an_answer()
    {
        await using Raw raw = Raw.Start(request => Misbehaviour.Reply(request.Code, BitConverter.GetBytes(4096UL)));
        await raw.Client.SetLogBaseAsync(new VhostUserLog(4096, 0), _descriptor.Descriptor).InTime();
    }

    [Fact]
    public async Task F20_a_refused_log_is_an_error()
    {
        await using Raw raw = Raw.Start(request => Misbehaviour.Reply(request.Code, BitConverter.GetBytes(5UL)));
        await raw.Client.Invoking(client => client.SetLogBaseAsync(new VhostUserLog(4096, 0), _descriptor.Descriptor).AsTask())
            .Should().ThrowAsync<VhostUserRejectedException>().WithMessage("*VHOST_USER_SET_LOG_BASE*5*");
        await raw.Client.Invoking(client => client.IotlbMsgAsync(default).AsTask())
            .Should().ThrowAsync<VhostUserRejectedException>().WithMessage("*IOTLB_MSG*");
    }

    [Fact]
    public async Task Any_header_with_any_payload_is_sent_as_it_is()
    {
        await using Raw raw = Raw.Start(request => (uint)request.Code == 1234 ? Misbehaviour.Message(1234, 0x5, [1, 2, 3]) : null);
        using (VhostUserMessage reply = await raw.Client.CallAsync(new VhostUserHeader(1234, (VhostUserHeaderFlags)0x9, 2), new byte[] { 7, 8 }).InTime())
            reply.Payload.ToArray().Should().Equal(1, 2, 3);
        raw.Backend.Requests[0].Payload.Should().Equal(7, 8);

        await raw.Client.SendAsync(new VhostUserHeader(0, (VhostUserHeaderFlags)0xfffffff2, 3), new byte[3]);
        await Eventually.TrueAsync(() => raw.Backend.Requests.Count == 2);
        raw.Backend.Requests[1].Flags.Should().Be((VhostUserHeaderFlags)0xfffffff2);
    }

    private static Misbehaviour? Answer(ScriptedRequest request) => request.Code switch
    {
        VhostUserRequest.GetVringBase or VhostUserRequest.GetVringBaseSkipDrain =>
            Misbehaviour.Reply(request.Code, [(byte)request.First, 0, 0, 0, 99, 0, 0, 0]),
        VhostUserRequest.GetConfig or VhostUserRequest.CreateCryptoSession => Misbehaviour.Reply(request.Code, request.Payload),
        VhostUserRequest.SetMemTable or VhostUserRequest.AddMemReg when !request.WantsAcknowledgement =>
            Misbehaviour.Reply(request.Code, request.Payload),
        VhostUserRequest.GetInflightFd => Misbehaviour.Reply(request.Code, [0, 16, .. new byte[14], 2, 0, 128, 0, 0, 0, 0, 0], _memory.Descriptor),
        VhostUserRequest.GetSharedObject => Misbehaviour.Reply(request.Code, request.Payload, _memory.Descriptor),
        VhostUserRequest.PostcopyAdvise => Misbehaviour.Reply(request.Code, [], _memory.Descriptor),
        VhostUserRequest.SetDeviceStateFd => Misbehaviour.Reply(request.Code, BitConverter.GetBytes(17UL), _memory.Descriptor),
        VhostUserRequest.GetShmemConfig =>
            Misbehaviour.Reply(request.Code, [1, .. new byte[7], .. new byte[40], 0, 16, .. new byte[6], .. new byte[2000]]),
        VhostUserRequest.SetLogBase when request.Payload.Length == 8 => request.WantsAcknowledgement ? Misbehaviour.Reply(request.Code, new byte[8]) : Misbehaviour.Nothing,
        VhostUserRequest.SetLogBase => Misbehaviour.Reply(request.Code, []),
        VhostUserRequest.SetBackendReqFd => request.WantsAcknowledgement ? Misbehaviour.Reply(request.Code, new byte[8]) : Misbehaviour.Nothing,
        VhostUserRequest.IotlbMsg or VhostUserRequest.PostcopyListen or VhostUserRequest.PostcopyEnd => Misbehaviour.Reply(request.Code, new byte[8]),
        _ when MessageContracts.TryGet(request.Code, out MessageContract? contract) && contract.Reply == ReplyRule.Always =>
            Misbehaviour.Reply(request.Code, BitConverter.GetBytes(17UL)),
        _ => null,
    };

    /// <summary>The raw client on a channel of its own, without a session.</summary>
    private sealed class Raw : IAsyncDisposable
    {
        private readonly RequestChannel _channel;

        private Raw(RequestChannel channel, ScriptedBackend backend)
        {
            _channel = channel;
            Backend = backend;
            Client = new VhostUserRequestClient(channel);
        }

        public ScriptedBackend Backend { get; }

        public VhostUserRequestClient Client { get; }

        public static Raw Start(Func<ScriptedRequest, Misbehaviour?> answer)
        {
            (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
            ScriptedBackend backend = new(back, misbehave: (request, _) => answer(request));
            RequestChannel channel = new(front, VhostUserChannel.Main);
            channel.Start();
            return new Raw(channel, backend);
        }

        public async ValueTask DisposeAsync()
        {
            await _channel.DisposeAsync();
            await Backend.DisposeAsync();
        }
    }
}
