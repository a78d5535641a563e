using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Proxy.Tests;

/// <summary>What goes through a proxy that nobody has asked for anything.</summary>
[Collection(ProcessCounts.Name)]
public sealed class ForwardingTests
{
    [Fact]
    public async Task Whatever_either_side_says_arrives_as_it_was_with_its_descriptors()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        await using (ProxyBench bench = ProxyBench.Start())
        {
            Random random = new(1);
            using EventNotifier descriptor = new();
            for (int i = 0; i < 300; i++)
            {
                (VhostUserConnection from, VhostUserConnection to) = random.Next(2) == 0 ? (bench.FrontEnd, bench.BackEnd) : (bench.BackEnd, bench.FrontEnd);
                byte[] payload = new byte[random.Next(3) == 0 ? random.Next(70_000) : random.Next(64)];
                random.NextBytes(payload);
                VhostUserHeader header = new((uint)random.Next(60), (VhostUserHeaderFlags)(uint)random.Next(), (uint)payload.Length);
                SafeHandle[] descriptors = [.. Enumerable.Repeat(descriptor.Descriptor, random.Next(4) == 0 ? random.Next(9) : 0)];
                if (header.Request is (uint)VhostUserRequest.SetBackendReqFd or (uint)VhostUserRequest.GpuSetSocket)
                    descriptors = [];

                await from.SendAsync(header, payload, descriptors).AsTask().InTime();

                ProxyBench.Said said = await ProxyBench.NextAsync(to);
                (said.Header, said.Descriptors).Should().Be((header, descriptors.Length));
                said.Payload.Should().Equal(payload);
            }

            await bench.FrontEnd.DisposeAsync();
            (await bench.Ended.InTime()).Messages.Should().Be((bench.Seen.Count(static message => message.From == ProxySide.FrontEnd), bench.Seen.Count(static message => message.From == ProxySide.BackEnd)));
        }

        before.AssertBack();
    }

    /// <summary>A payload may be a frame of a display.</summary>
    [Fact]
    public async Task What_is_shown_is_what_is_handed_on_and_no_copy_of_it()
    {
        (VhostUserConnection frontEnd, VhostUserConnection one) = VhostUserConnection.CreatePair();
        (VhostUserConnection other, VhostUserConnection backEnd) = VhostUserConnection.CreatePair();
        using ProxySession session = new(new VhostUserProxy(), 1, one, other);
        await ProxyBench.AskAsync(frontEnd, VhostUserRequest.SetVringNum, new byte[8]);
        using VhostUserMessage? received = await one.ReceiveAsync().AsTask().InTime();
        using PassingMessage message = new(received!);

        session.Arrived(VhostUserChannel.Main, ProxySide.FrontEnd, message).Payload.Equals(message.Payload).Should().BeTrue("both are the same bytes in memory");

        foreach (VhostUserConnection connection in (VhostUserConnection[])[frontEnd, one, other, backEnd])
            await connection.DisposeAsync();
    }

    [Theory]
    [InlineData(ProxySide.FrontEnd)]
    [InlineData(ProxySide.BackEnd)]
    public async Task Whoever_goes_takes_the_other_one_along_when_all_was_said(ProxySide side)
    {
        await using ProxyBench bench = ProxyBench.Start();
        (VhostUserConnection goes, VhostUserConnection stays) = side == ProxySide.FrontEnd ? (bench.FrontEnd, bench.BackEnd) : (bench.BackEnd, bench.FrontEnd);
        for (int i = 0; i < 20; i++)
            await ProxyBench.AskAsync(goes, VhostUserRequest.GetFeatures);
        await goes.DisposeAsync();
        for (int i = 0; i < 20; i++)
            await ProxyBench.NextAsync(stays);
        await ProxyBench.ExpectEndAsync(stays);
        (await bench.Ended.InTime()).End.Should().Contain(side == ProxySide.FrontEnd ? "the front-end" : "the back-end");
    }

    [Theory]
    [InlineData(VhostUserRequest.SetBackendReqFd, VhostUserChannel.Backend, true)]
    [InlineData(VhostUserRequest.SetBackendReqFd, VhostUserChannel.Backend, false)]
    [InlineData(VhostUserRequest.GpuSetSocket, VhostUserChannel.Gpu, true)]
    public async Task Other_channels_go_through_it_too(VhostUserRequest opens, VhostUserChannel channel, bool waits)
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        await using (ProxyBench bench = ProxyBench.Start())
        {
            (SafeFileHandle ours, SafeFileHandle theirs) = Libc.UnixSocketPair();
            await using VhostUserConnection answers = VhostUserConnection.Adopt(ours);
            if (waits)
                Libc.SetBlocking(theirs);
            using (theirs)
                await ProxyBench.AskAsync(bench.FrontEnd, opens, null, theirs);
            using VhostUserMessage? given = await bench.BackEnd.ReceiveAsync().AsTask().InTime();
            SafeFileHandle socket = given!.TakeDescriptor(0);
            ((Libc.StatusFlags(socket) & Libc.O_NONBLOCK) == 0).Should().Be(waits, "the back-end reads and writes as it would without a proxy");
            await using VhostUserConnection asks = VhostUserConnection.Adopt(socket);
            for (uint i = 1; i <= 5; i++)
            {
                VhostUserHeader request = new(i, VhostUserHeaderFlags.Version1 | VhostUserHeaderFlags.NeedReply, 0);
                await asks.SendAsync(request, default).AsTask().InTime();
                (await ProxyBench.NextAsync(answers)).Header.Should().Be(request);
                await answers.SendAsync(request.AsReply(8), new byte[8]).AsTask().InTime();
                (await ProxyBench.NextAsync(asks)).Header.IsReply.Should().BeTrue();
            }

            await Eventually.TrueAsync(() => bench.Seen.Count(message => message.Channel == channel) == 10);
            bench.Seen.Where(message => message.Channel == channel && message.From == ProxySide.FrontEnd).Should().OnlyContain(static reply => reply.Answers != null && reply.RoundTrip > TimeSpan.Zero);

            await asks.DisposeAsync();
            await ProxyBench.ExpectEndAsync(answers);
            await ProxyBench.AskAsync(bench.FrontEnd, VhostUserRequest.GetFeatures);
            await ProxyBench.NextAsync(bench.BackEnd);
        }

        before.AssertBack();
    }

    [Fact]
    public async Task A_descriptor_that_is_no_socket_is_handed_on_for_the_back_end_to_refuse()
    {
        await using ProxyBench bench = ProxyBench.Start();
        using EventNotifier stray = new();
        await ProxyBench.AskAsync(bench.FrontEnd, VhostUserRequest.SetBackendReqFd, null, stray.Descriptor);
        using VhostUserMessage? given = await bench.BackEnd.ReceiveAsync().AsTask().InTime();
        using SafeFileHandle came = given!.TakeDescriptor(0);
        DescriptorInfo.IsEventFd(came).Should().BeTrue();
    }

    [Fact]
    public async Task A_reply_names_its_request_and_what_it_took_and_the_summary_what_was_agreed_on()
    {
        await using ProxyBench bench = ProxyBench.Start();
        await ProxyBench.AskAsync(bench.FrontEnd, VhostUserRequest.SetOwner);
        await ProxyBench.NextAsync(bench.BackEnd);
        await ProxyBench.AskAsync(bench.FrontEnd, VhostUserRequest.GetFeatures);
        VhostUserHeader asked = (await ProxyBench.NextAsync(bench.BackEnd)).Header;
        await bench.BackEnd.SendAsync(asked.AsReply(8), BitConverter.GetBytes((ulong)(VirtioFeatures.Version1 | VirtioFeatures.EventIndex))).AsTask().InTime();
        await ProxyBench.NextAsync(bench.FrontEnd);
        await ProxyBench.AskAsync(bench.FrontEnd, VhostUserRequest.SetFeatures, BitConverter.GetBytes((ulong)VirtioFeatures.Version1));
        await ProxyBench.NextAsync(bench.BackEnd);
        await ProxyBench.AskAsync(bench.FrontEnd, VhostUserRequest.SetVringNum, [1, 0, 0, 0, 0, 1, 0, 0]);
        await ProxyBench.NextAsync(bench.BackEnd);
        await ProxyBench.AskAsync(bench.FrontEnd, VhostUserRequest.SetVringEnable, [1, 0, 0, 0, 1, 0, 0, 0]);
        await ProxyBench.NextAsync(bench.BackEnd);
        await bench.FrontEnd.DisposeAsync();

        ProxySummary summary = await bench.Ended.InTime();

        ProxyMessage[] seen = [.. bench.Seen.OrderBy(static message => message.Number)];
        (seen[2].Answers, seen[2].RoundTrip).Should().Be((seen[1].Number, seen[2].At - seen[1].At));
        seen[3].Change.Should().Contain("VERSION_1").And.StartWith("acknowledged");
        seen[5].Change.Should().Be("ring 1 enabled");
        summary.Negotiated.Offered.Should().Be(VirtioFeatures.Version1 | VirtioFeatures.EventIndex);
        summary.Negotiated.Features.Should().Be(VirtioFeatures.Version1);
        summary.Rings.Should().Equal(new ProxyRing(1, 256, null, IsStarted: false, IsEnabled: true));
        summary.Messages.Should().Be((5, 1));
        summary.Held.Most.Should().BeGreaterThan(TimeSpan.Zero);
    }

    [Fact]
    public async Task A_frame_of_a_display_may_be_long_and_a_channel_that_ends_says_why()
    {
        await using ProxyBench bench = ProxyBench.Start();
        (SafeFileHandle ours, SafeFileHandle theirs) = Libc.UnixSocketPair();
        await using VhostUserConnection display = VhostUserConnection.Adopt(ours, new VhostUserConnectionOptions { MaxPayload = 64 << 20 });
        using (theirs)
            await ProxyBench.AskAsync(bench.FrontEnd, VhostUserRequest.GpuSetSocket, null, theirs);
        using VhostUserMessage? given = await bench.BackEnd.ReceiveAsync().AsTask().InTime();
        await using VhostUserConnection gpu = VhostUserConnection.Adopt(given!.TakeDescriptor(0));
        byte[] frame = new byte[20 + (33 << 20)];
        Task sending = gpu.SendAsync(VhostUserHeader.ForRequest(VhostUserGpuRequest.Update, frame.Length), frame).AsTask();
        (await ProxyBench.NextAsync(display)).Payload.Should().HaveCount(frame.Length);
        await sending.InTime();

        await gpu.SendAsync(new VhostUserHeader((uint)VhostUserGpuRequest.Update, 0, uint.MaxValue), default).AsTask().InTime();
        await ProxyBench.ExpectEndAsync(display);

        await bench.FrontEnd.DisposeAsync();
        (await bench.Ended.InTime()).ChannelEnds.Should().ContainSingle().Which.Should().StartWith("Gpu: the back-end:").And.Contain("4294967295");
    }

    [Fact]
    public async Task An_answer_is_that_of_the_request_that_asked_for_one()
    {
        await using ProxyBench bench = ProxyBench.Start();
        VhostUserHeader quiet = VhostUserHeader.ForRequest(VhostUserRequest.SetVringNum, 8);
        VhostUserHeader asks = VhostUserHeader.ForRequest(VhostUserRequest.SetVringNum, 8, needReply: true);
        foreach (VhostUserHeader header in (VhostUserHeader[])[quiet, asks])
        {
            await bench.FrontEnd.SendAsync(header, new byte[8]).AsTask().InTime();
            await ProxyBench.NextAsync(bench.BackEnd);
        }

        await bench.BackEnd.SendAsync(asks.AsReply(8), new byte[8]).AsTask().InTime();
        await ProxyBench.NextAsync(bench.FrontEnd);
        await Eventually.TrueAsync(() => bench.Seen.Count == 3);
        bench.Seen.Single(static message => message.Header.IsReply).Answers.Should().Be(2);
    }

    /// <summary>Said in this order: a question of the front-end, <c>request</c>; the same with NEED_REPLY, <c>request!</c>; an answer of the back-end, <c>=request</c>, and behind it the message that it answers, counted from 1.</summary>
    [Theory]
    [InlineData("SetMemTable", "=SetMemTable 0", "SetMemTable!", "=SetMemTable 3")]
    [InlineData("SetLogBase", "=SetLogBase 0")]
    [InlineData("log-shmfd", "SetLogBase", "=SetLogBase 2")]
    [InlineData("SetLogBase", "log-shmfd", "SetLogBase", "=SetLogBase 3", "=SetLogBase 0")]
    [InlineData("SetOwner!", "reply-ack", "SetOwner!", "=SetOwner 3")]
    [InlineData("SetOwner!", "=SetOwner 1", "=SetOwner 0")]
    [InlineData("GetFeatures", "SetOwner", "=SetOwner 0", "=GetFeatures 1")]
    [InlineData("PostcopyListen!", "=PostcopyListen 1", "SetMemTable", "=SetMemTable 3", "SetMemTable", "SetMemTable", "=SetMemTable 6")]
    [InlineData("PostcopyListen!", "=PostcopyListen 1", "PostcopyEnd!", "=PostcopyEnd 3", "SetMemTable", "=SetMemTable 0")]
    public async Task An_answer_is_that_of_a_request_that_waits_for_one_by_what_was_agreed_on(params string[] dialogue)
    {
        await using ProxyBench bench = ProxyBench.Start();
        foreach (string line in dialogue)
        {
            string[] words = line.Split(' ');
            (VhostUserConnection from, VhostUserConnection to) = line[0] == '=' ? (bench.BackEnd, bench.FrontEnd) : (bench.FrontEnd, bench.BackEnd);
            (VhostUserRequest request, VhostUserProtocolFeatures agreed) = words[0] switch
            {
                "log-shmfd" => (VhostUserRequest.SetProtocolFeatures, VhostUserProtocolFeatures.LogShmFd),
                "reply-ack" => (VhostUserRequest.SetProtocolFeatures, VhostUserProtocolFeatures.ReplyAck),
                _ => (Enum.Parse<VhostUserRequest>(words[0].Trim('=', '!')), VhostUserProtocolFeatures.None),
            };
            VhostUserHeader header = VhostUserHeader.ForRequest(request, 8, needReply: line.EndsWith('!'));
            await from.SendAsync(line[0] == '=' ? header.AsReply(8) : header, BitConverter.GetBytes((ulong)agreed)).AsTask().InTime();
            await ProxyBench.NextAsync(to);
        }

        await Eventually.TrueAsync(() => bench.Seen.Count == dialogue.Length);
        bench.Seen.Where(static message => message.Header.IsReply).OrderBy(static message => message.Number).Select(static message => message.Answers ?? 0)
            .Should().Equal(dialogue.Where(static line => line[0] == '=').Select(static line => long.Parse(line.Split(' ')[1], System.Globalization.CultureInfo.InvariantCulture)));
    }

    /// <summary>As long as the proxy held that, it would not see that the front-end is gone.</summary>
    [Fact]
    public async Task A_front_end_that_hands_over_its_own_end_does_not_outlive_itself()
    {
        (SafeFileHandle frontEnd, SafeFileHandle towards) = Libc.UnixSocketPair();
        (VhostUserConnection other, VhostUserConnection backEnd) = VhostUserConnection.CreatePair();
        Task<ProxySummary> running = new VhostUserProxy().RunAsync(VhostUserConnection.Adopt(towards), other);
        using (SafeFileHandle again = Libc.Duplicate(frontEnd))
        await using (VhostUserConnection says = VhostUserConnection.Adopt(frontEnd))
            await ProxyBench.AskAsync(says, VhostUserRequest.SetBackendReqFd, null, again);
        (await ProxyBench.NextAsync(backEnd)).Descriptors.Should().Be(1, "it is the back-end's to refuse");
        await running.InTime();
        await backEnd.DisposeAsync();
    }

    [Fact]
    public async Task An_observer_that_fails_ends_the_session_and_nobody_waits()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        (VhostUserConnection frontEnd, VhostUserConnection one) = VhostUserConnection.CreatePair();
        (VhostUserConnection other, VhostUserConnection backEnd) = VhostUserConnection.CreatePair();
        VhostUserProxy proxy = new(new VhostUserProxyOptions { Observer = static _ => throw new IOException("no space left") });
        Task<ProxySummary> running = proxy.RunAsync(one, other);
        await ProxyBench.AskAsync(frontEnd, VhostUserRequest.GetFeatures);
        await ProxyBench.NextAsync(backEnd);
        await ProxyBench.ExpectEndAsync(backEnd);
        await ProxyBench.ExpectEndAsync(frontEnd);
        await FluentActions.Awaiting(() => running.InTime()).Should().ThrowAsync<IOException>().WithMessage("no space left");
        await frontEnd.DisposeAsync();
        await backEnd.DisposeAsync();
        before.AssertBack();
    }

    [Fact]
    public async Task Whoever_comes_while_the_other_side_is_away_is_let_go_and_the_next_one_served()
    {
        using TempSocket listen = new();
        using TempSocket connect = new();
        using CancellationTokenSource stop = new();
        List<ProxySummary> ended = [];
        VhostUserListener backEnds = VhostUserListener.Listen(connect.Path);
        Task serving = new VhostUserProxy(new VhostUserProxyOptions { ConnectPatience = TimeSpan.Zero }).ServeAsync(listen.Path, connect.Path, ProxySide.FrontEnd, ended.Add, stop.Token);
        await using (VhostUserConnection first = await VhostUserConnection.ConnectAsync(listen.Path, new VhostUserConnectOptions { RetryFor = Eventually.Deadline }))
            (await backEnds.AcceptAsync().AsTask().InTime()).Should().NotBeNull();
        await backEnds.DisposeAsync();

        await using (VhostUserConnection second = await VhostUserConnection.ConnectAsync(listen.Path))
            await ProxyBench.ExpectEndAsync(second);

        backEnds = VhostUserListener.Listen(connect.Path);
        await using VhostUserConnection third = await VhostUserConnection.ConnectAsync(listen.Path);
        await using VhostUserConnection served = await backEnds.AcceptAsync().AsTask().InTime();
        await ProxyBench.AskAsync(third, VhostUserRequest.SetOwner);
        await ProxyBench.NextAsync(served);
        await stop.CancelAsync();
        await FluentActions.Awaiting(() => serving.InTime()).Should().ThrowAsync<OperationCanceledException>();
        await backEnds.DisposeAsync();
        ended.Select(static summary => summary.End).Should().Equal("the front-end closed the connection, or a fault did", "the proxy was stopped");
    }
}
