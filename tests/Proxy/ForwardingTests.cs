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
    [InlineData(VhostUserRequest.SetBackendReqFd, VhostUserChannel.Backend)]
    [InlineData(VhostUserRequest.GpuSetSocket, VhostUserChannel.Gpu)]
    public async Task Other_channels_go_through_it_too(VhostUserRequest opens, VhostUserChannel channel)
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        await using (ProxyBench bench = ProxyBench.Start())
        {
            (SafeFileHandle ours, SafeFileHandle theirs) = Libc.UnixSocketPair();
            await using VhostUserConnection answers = VhostUserConnection.Adopt(ours);
            using (theirs)
                await ProxyBench.AskAsync(bench.FrontEnd, opens, null, theirs);
            using VhostUserMessage? given = await bench.BackEnd.ReceiveAsync().AsTask().InTime();
            await using VhostUserConnection asks = VhostUserConnection.Adopt(given!.TakeDescriptor(0));
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
}
