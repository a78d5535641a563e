using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

/// <summary>Messages that are as they should be, again and again: nothing is left of any of them, and the session serves on.</summary>
[Collection(ProcessCounts.Name)]
public sealed class RepeatedMessageTests
{
    /// <summary>So many are said before anybody waits for the back-end.</summary>
    private const int Turn = 64;

    /// <summary>Those that come in a turn with another one, and those that other tests repeat as often, with something else each time or beside traffic.</summary>
    private static readonly VhostUserRequest[] _elsewhere =
    [
        VhostUserRequest.CloseCryptoSession, // with CREATE_CRYPTO_SESSION
        VhostUserRequest.PostcopyListen, // with POSTCOPY_ADVISE
        VhostUserRequest.PostcopyEnd, // with POSTCOPY_ADVISE
        VhostUserRequest.SetLogBase, // DirtyLogTests.B26
        VhostUserRequest.SetVringNum, // StormTests.B16
        VhostUserRequest.IotlbMsg, // IotlbChangeTests.B32
        VhostUserRequest.VringKick, // InbandTests
        VhostUserRequest.AddMemReg, // MemoryTests.B23
        VhostUserRequest.RemMemReg, // MemoryTests.B23
        VhostUserRequest.SetDeviceStateFd, // DeviceStateTests.B34
    ];

    public static TheoryData<VhostUserRequest> Messages => [.. FrontendMessages.All.Select(static message => message.Request).Except(_elsewhere)];

    [Theory]
    [MemberData(nameof(Messages))]
    public async Task B28_B31_B33_B35_Messages_without_end_leave_nothing_behind(VhostUserRequest request)
    {
        FrontendMessage message = FrontendMessages.Of(request);
        await using HostileBench bench = await MessageSession.ServeAsync(message);
        await using (MessageSession session = await MessageSession.StartAsync(bench, message, stage: MessageSession.StageOf(request)))
        {
            await session.PrepareAsync(request);
            await TurnAsync(session, message); // what is opened once
            ProcessCounts before = ProcessCounts.Snapshot();
            for (int said = 0; said < TimesOf(request); said += Turn)
                await TurnAsync(session, message);
            before.AssertBack();
            await session.ServesAsync();
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    /// <summary>A hundred thousand, or a tenth of it where each takes the kernel long: memory is mapped and unmapped, or two sockets are made and one is watched.</summary>
    private static int TimesOf(VhostUserRequest request) => request switch
    {
        VhostUserRequest.SetMemTable or VhostUserRequest.SetBackendReqFd or VhostUserRequest.GpuSetSocket => 10_000,
        _ => 100_000,
    };

    private static Task TurnAsync(MessageSession session, FrontendMessage message) => message.Request switch
    {
        VhostUserRequest.CreateCryptoSession => CreateAndCloseAsync(session),
        VhostUserRequest.PostcopyAdvise => BeginAndEndAsync(session, message),
        VhostUserRequest.SetBackendReqFd or VhostUserRequest.GpuSetSocket => HandOverAsync(session.Frontend, message.Request),
        _ => RepeatAsync(session, message),
    };

    private static async Task RepeatAsync(MessageSession session, FrontendMessage message)
    {
        (byte[] payload, SafeHandle[] descriptors) = session.Legal(message.Request);
        for (int i = 0; i < Turn; i++)
            await session.Frontend.SendAsync(message.Request, payload, descriptors);
        for (int i = 0; i < Turn && message.Answer is not null; i++)
            await session.AnsweredAsync(message);
        if (message.Answer is null)
            await session.Frontend.BarrierAsync();
    }

    private static async Task CreateAndCloseAsync(MessageSession session)
    {
        byte[] wanted = session.Legal(VhostUserRequest.CreateCryptoSession).Payload;
        long[] ids = new long[Turn];
        for (int i = 0; i < Turn; i++)
            await session.Frontend.SendAsync(VhostUserRequest.CreateCryptoSession, wanted);
        for (int i = 0; i < Turn; i++)
            VhostUserCryptoSession.TryReadSessionId(await session.Frontend.ReplyToAsync((uint)VhostUserRequest.CreateCryptoSession), out ids[i]);
        foreach (long id in ids)
            await session.Frontend.SendAsync(VhostUserRequest.CloseCryptoSession, RawFrontend.U64((ulong)id));
        await session.Frontend.BarrierAsync();
    }

    private static async Task BeginAndEndAsync(MessageSession session, FrontendMessage message)
    {
        for (int i = 0; i < Turn; i++)
        {
            await session.Frontend.SendAsync(VhostUserRequest.PostcopyAdvise);
            await session.Frontend.SendAsync(VhostUserRequest.PostcopyListen);
            await session.Frontend.SendAsync(VhostUserRequest.PostcopyEnd);
        }

        for (int i = 0; i < Turn; i++)
            await session.AnsweredAsync(message);
        await session.Frontend.BarrierAsync();
    }

    /// <summary>Another socket each time, of which the other end is there until the next one has taken its place.</summary>
    private static async Task HandOverAsync(RawFrontend frontend, VhostUserRequest request)
    {
        List<SafeFileHandle> ours = [];
        for (int i = 0; i < Turn; i++)
        {
            (SafeFileHandle end, SafeFileHandle theirs) = Libc.UnixSocketPair();
            ours.Add(end);
            using (theirs)
                await frontend.SendAsync(request, default, theirs);
        }

        await frontend.BarrierAsync();
        ours.ForEach(static end => end.Dispose());
    }
}
