using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

/// <summary>What a front-end answers on the back-end's own channel, in a shape that cannot be, or unasked: whoever asked gets an error, the channel ends, and the session goes on.</summary>
[Collection(ProcessCounts.Name)]
public class BackendAnswerTests
{
    private static readonly VhostUserBackendOptions _options = new()
    {
        AdditionalProtocolFeatures = VhostUserProtocolFeatures.HostNotifier | VhostUserProtocolFeatures.InbandNotifications,
        DrainTimeout = TimeSpan.FromSeconds(2),
    };

    /// <summary>How an answer is wrong.</summary>
    public enum Lie
    {
        OtherRequest,
        NoReply,
        OtherVersion,
        ReservedFlag,
        Empty,
        Short,
        Long,
        Endless,
        Descriptors,
    }

    public static TheoryData<VhostUserBackendRequest, Lie> Lies
    {
        get
        {
            VhostUserBackendRequest[] requests =
            [
                VhostUserBackendRequest.SharedObjectAdd, VhostUserBackendRequest.SharedObjectRemove, VhostUserBackendRequest.SharedObjectLookup,
                VhostUserBackendRequest.ShmemMap, VhostUserBackendRequest.ShmemUnmap, VhostUserBackendRequest.VringHostNotifierMsg,
            ];
            TheoryData<VhostUserBackendRequest, Lie> lies = new();
            foreach (VhostUserBackendRequest request in requests)
            {
                foreach (Lie lie in Enum.GetValues<Lie>())
                    lies.Add(request, lie);
            }

            return lies;
        }
    }

    public static TheoryData<Lie> AllLies => [.. Enum.GetValues<Lie>()];

    [Theory]
    [MemberData(nameof(Lies))]
    public async Task F01_F02_F04_An_answer_that_cannot_be_is_an_error_of_whoever_asked_and_the_end_of_the_channel(VhostUserBackendRequest request, Lie lie)
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        await using (SessionBench bench = await SessionBench.StartAsync(new SharingDevice(), _options))
        {
            await using VhostUserConnection channel = await AttachChannelAsync(bench.Frontend);
            TestRing ring = await bench.RunAsync();
            await bench.Frontend.BarrierAsync();
            using EventNotifier file = new();

            Task asked = AskAsync(bench.Backend.Requests, request, file.Descriptor);
            await AnswerAsync(channel, request, lie);

            await asked.Awaiting(task => task.InTime()).Should().ThrowAsync<VhostUserProtocolException>();
            await ExpectLostAsync(channel);
            Func<Task> again = () => AskAsync(bench.Backend.Requests, request, file.Descriptor).InTime();
            await again.Should().ThrowAsync<VhostUserDisconnectedException>();
            await ring.EchoAsync(1);
        }

        before.AssertBack();
    }

    /// <summary>Nobody is told of a call that got a wrong answer; the ring is served as before, and the next channel gets the call again.</summary>
    [Theory]
    [MemberData(nameof(AllLies))]
    public async Task F01_F02_F04_A_call_that_is_answered_with_what_cannot_be_costs_the_channel_and_no_ring(Lie lie)
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        await using (SessionBench bench = await SessionBench.StartAsync(options: _options))
        {
            await using VhostUserConnection channel = await AttachChannelAsync(bench.Frontend);
            TestRing ring = bench.Ring();
            await StartInbandAsync(bench.Frontend, ring);
            await EchoInbandAsync(bench.Frontend, ring, 1);
            await AnswerAsync(channel, VhostUserBackendRequest.VringCall, lie);
            await ExpectLostAsync(channel);

            await EchoInbandAsync(bench.Frontend, ring, 2);
            await using VhostUserConnection next = await AttachChannelAsync(bench.Frontend);
            using VhostUserMessage? call = await next.ReceiveAsync().InTime();
            call!.Header.Should().Be(VhostUserHeader.ForRequest(VhostUserBackendRequest.VringCall, 8, needReply: true));
        }

        before.AssertBack();
    }

    [Fact]
    public async Task F01_A_second_answer_is_one_too_many()
    {
        await using SessionBench bench = await SessionBench.StartAsync(new SharingDevice(), _options);
        await using VhostUserConnection channel = await AttachChannelAsync(bench.Frontend);
        TestRing ring = await bench.RunAsync();
        await bench.Frontend.BarrierAsync();
        Task asked = bench.Backend.Requests.AddSharedObjectAsync(Guid.NewGuid()).AsTask();
        using (VhostUserMessage? message = await channel.ReceiveAsync().InTime())
        {
            await channel.SendAsync(message!.Header.AsReply(8), new byte[8]);
            await asked.InTime();
            await channel.SendAsync(message.Header.AsReply(8), new byte[8]);
        }

        await ExpectLostAsync(channel);
        await ring.EchoAsync(1);
    }

    [Fact]
    public async Task F01_A_change_of_the_configuration_asks_for_no_answer_and_gets_none()
    {
        await using SessionBench bench = await SessionBench.StartAsync();
        await using VhostUserConnection channel = await AttachChannelAsync(bench.Frontend);
        TestRing ring = await bench.RunAsync();
        await bench.Frontend.BarrierAsync();
        await bench.Backend.NotifyConfigChangedAsync();
        using (VhostUserMessage? message = await channel.ReceiveAsync().InTime())
            await channel.SendAsync(message!.Header.AsReply(8), new byte[8]);
        await ExpectLostAsync(channel);
        await ring.EchoAsync(1);
    }

    [Fact]
    public async Task F01_Without_REPLY_ACK_an_answer_is_unasked_for_and_that_of_a_lookup_is_not()
    {
        await using SessionBench bench = new(new SharingDevice());
        await bench.Frontend.NegotiateAsync(replyAck: false);
        await bench.Frontend.SendAsync(VhostUserRequest.AddMemReg, RawFrontend.Bytes(new VhostUserSingleRegion(bench.Guest.Region)), bench.Guest.Shared.Descriptor);
        (SafeFileHandle ours, SafeFileHandle theirs) = Libc.UnixSocketPair();
        using (theirs)
            await bench.Frontend.SendAsync(VhostUserRequest.SetBackendReqFd, default, theirs);
        await using VhostUserConnection channel = VhostUserConnection.Adopt(ours);
        TestRing ring = await bench.RunAsync();
        await bench.Frontend.BarrierAsync();

        Task<SafeFileHandle?> found = bench.Backend.Requests.FindSharedObjectAsync(Guid.NewGuid()).AsTask();
        using (VhostUserMessage? lookup = await channel.ReceiveAsync().InTime())
        {
            lookup!.Header.Should().Be(VhostUserHeader.ForRequest(VhostUserBackendRequest.SharedObjectLookup, 16));
            await channel.SendAsync(lookup.Header.AsReply(8), RawFrontend.U64(1));
        }

        (await found.InTime()).Should().BeNull();
        await bench.Backend.Requests.AddSharedObjectAsync(Guid.NewGuid()).InTime();
        using (VhostUserMessage? added = await channel.ReceiveAsync().InTime())
            await channel.SendAsync(added!.Header.AsReply(8), new byte[8]);
        await ExpectLostAsync(channel);
        await ring.EchoAsync(1);
    }

    private static async Task AskAsync(VhostUserBackendRequests requests, VhostUserBackendRequest request, SafeHandle file)
    {
        switch (request)
        {
            case VhostUserBackendRequest.SharedObjectAdd: await requests.AddSharedObjectAsync(Guid.NewGuid()); break;
            case VhostUserBackendRequest.SharedObjectRemove: await requests.RemoveSharedObjectAsync(Guid.NewGuid()); break;
            case VhostUserBackendRequest.SharedObjectLookup: (await requests.FindSharedObjectAsync(Guid.NewGuid()))?.Dispose(); break;
            case VhostUserBackendRequest.ShmemMap: await requests.MapSharedMemoryAsync(new(1, 0, 4096, 8192, VhostUserShmemMapFlags.ReadWrite), file); break;
            case VhostUserBackendRequest.ShmemUnmap: await requests.UnmapSharedMemoryAsync(1, 4096, 8192); break;
            default: await requests.SetHostNotifierAsync(0, file); break;
        }
    }

    /// <summary>Takes the request and answers it so.</summary>
    private static async Task AnswerAsync(VhostUserConnection channel, VhostUserBackendRequest request, Lie lie)
    {
        using EventNotifier stray = new();
        using VhostUserMessage? message = await channel.ReceiveAsync().InTime();
        message!.Header.Request.Should().Be((uint)request);
        VhostUserHeader answer = message.Header.AsReply(8);
        answer = lie switch
        {
            Lie.OtherRequest => answer with { Request = answer.Request == 6 ? 7u : 6u },
            Lie.NoReply => answer with { Flags = RawFrontend.Plain },
            Lie.OtherVersion => answer with { Flags = (VhostUserHeaderFlags)0x6 },
            Lie.ReservedFlag => answer with { Flags = (VhostUserHeaderFlags)0x15 },
            Lie.Empty => answer with { PayloadSize = 0 },
            Lie.Short => answer with { PayloadSize = 7 },
            Lie.Long => answer with { PayloadSize = 9 },
            Lie.Endless => answer with { PayloadSize = uint.MaxValue },
            _ => answer,
        };
        SafeHandle[] strays = lie != Lie.Descriptors ? [] : [.. Enumerable.Repeat(stray.Descriptor, request == VhostUserBackendRequest.SharedObjectLookup ? 2 : 1)];
        await channel.SendAsync(answer, lie == Lie.Endless ? default : new byte[answer.PayloadSize], strays);
    }

    private static async Task ExpectLostAsync(VhostUserConnection channel) => (await channel.ReceiveAsync().InTime()).Should().BeNull("the back-end has closed it");

    private static async Task StartInbandAsync(RawFrontend frontend, TestRing ring)
    {
        uint index = (uint)ring.Index;
        await frontend.AcceptedAsync(VhostUserRequest.SetVringNum, RawFrontend.State(index, TestRing.Size));
        await frontend.AcceptedAsync(VhostUserRequest.SetVringBase, RawFrontend.State(index, 0));
        await frontend.AcceptedAsync(VhostUserRequest.SetVringAddr, RawFrontend.Bytes(ring.Address));
        await frontend.AcceptedAsync(VhostUserRequest.VringKick, RawFrontend.State(index, 0));
        await frontend.AcceptedAsync(VhostUserRequest.SetVringEnable, RawFrontend.State(index, 1));
    }

    private static async Task EchoInbandAsync(RawFrontend frontend, TestRing ring, byte fill)
    {
        ring.Submit(fill);
        await frontend.AcceptedAsync(VhostUserRequest.VringKick, RawFrontend.State((uint)ring.Index, 0));
        await ring.ExpectEchoAsync(fill);
    }

    private static async Task<VhostUserConnection> AttachChannelAsync(RawFrontend frontend)
    {
        (SafeFileHandle ours, SafeFileHandle theirs) = Libc.UnixSocketPair();
        using (theirs)
            await frontend.AcceptedAsync(VhostUserRequest.SetBackendReqFd, default, theirs);
        return VhostUserConnection.Adopt(ours);
    }
}
