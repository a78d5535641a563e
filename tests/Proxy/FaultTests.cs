using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Proxy.Tests;

/// <summary>What a proxy does to messages when it is asked to.</summary>
[Collection(ProcessCounts.Name)]
public sealed class FaultTests
{
    private const VhostUserRequest Num = VhostUserRequest.SetVringNum;
    private const VhostUserRequest Base = VhostUserRequest.SetVringBase;
    private static readonly byte[] _payload = [0, 0, 0, 0, 0, 1, 0, 0];

    [Theory]
    [InlineData("drop@SET_VRING_NUM", 0, 1)]
    [InlineData("drop@SET_VRING_NUM#2", 2, 1)]
    [InlineData("drop@SET_VRING_NUM:reply", 3, 1)]
    [InlineData("drop@backend:SHMEM_MAP", 3, 1)]
    [InlineData("drop@*", 0, 0)]
    [InlineData("duplicate@8", 6, 1)]
    [InlineData("duplicate@SET_VRING_NUM#1", 4, 1)]
    public async Task Messages_are_dropped_and_said_twice(string rule, int sizes, int bases)
    {
        await using ProxyBench bench = ProxyBench.Start(rule);
        for (int i = 0; i < 3; i++)
            await ProxyBench.AskAsync(bench.FrontEnd, Num, _payload);
        await ProxyBench.AskAsync(bench.FrontEnd, Base, _payload);
        await Eventually.TrueAsync(() => bench.Seen.Count == 4);
        await bench.FrontEnd.DisposeAsync();
        List<uint> came = [];
        while (await bench.BackEnd.ReceiveAsync().AsTask().InTime() is { } message)
        {
            using (message)
                came.Add(message.Header.Request);
        }

        came.Should().Equal([.. Enumerable.Repeat((uint)Num, sizes), .. Enumerable.Repeat((uint)Base, bases)]);
    }

    [Fact]
    public async Task A_message_goes_behind_the_next_one()
    {
        await using ProxyBench bench = ProxyBench.Start("reorder@SET_VRING_NUM#2");
        for (byte i = 1; i <= 4; i++)
            await ProxyBench.AskAsync(bench.FrontEnd, Num, [i, 0, 0, 0, 0, 0, 0, 0]);
        List<byte> came = [];
        for (int i = 0; i < 4; i++)
            came.Add((await ProxyBench.NextAsync(bench.BackEnd)).Payload[0]);
        came.Should().Equal(1, 3, 2, 4);
    }

    [Fact]
    public async Task A_message_waits_and_those_behind_it_do()
    {
        FakeTimeProvider clock = new();
        (VhostUserConnection frontEnd, VhostUserConnection one) = VhostUserConnection.CreatePair();
        (VhostUserConnection other, VhostUserConnection backEnd) = VhostUserConnection.CreatePair();
        VhostUserProxy proxy = new(new VhostUserProxyOptions { Faults = [FaultRule.Parse("delay=250@SET_VRING_NUM")], TimeProvider = clock });
        Task<ProxySummary> running = proxy.RunAsync(one, other);
        await ProxyBench.AskAsync(frontEnd, Num, _payload);
        await ProxyBench.AskAsync(frontEnd, Base, _payload);
        Task<ProxyBench.Said> first = ProxyBench.NextAsync(backEnd);
        await Eventually.TrueAsync(() => clock.ActiveTimers > 0);
        first.IsCompleted.Should().BeFalse();

        clock.Advance(TimeSpan.FromMilliseconds(250));

        (await first).Header.Request.Should().Be((uint)Num);
        (await ProxyBench.NextAsync(backEnd)).Header.Request.Should().Be((uint)Base);
        await frontEnd.DisposeAsync();
        await running.InTime();
        await backEnd.DisposeAsync();
    }

    [Fact]
    public async Task A_session_whose_front_end_has_gone_does_not_wait_for_what_is_delayed()
    {
        FakeTimeProvider clock = new();
        (VhostUserConnection frontEnd, VhostUserConnection one) = VhostUserConnection.CreatePair();
        (VhostUserConnection other, VhostUserConnection backEnd) = VhostUserConnection.CreatePair();
        VhostUserProxy proxy = new(new VhostUserProxyOptions { Faults = [FaultRule.Parse("delay=3600000@GET_FEATURES:reply")], TimeProvider = clock });
        Task<ProxySummary> running = proxy.RunAsync(one, other);
        await ProxyBench.AskAsync(frontEnd, VhostUserRequest.GetFeatures);
        VhostUserHeader asked = (await ProxyBench.NextAsync(backEnd)).Header;
        await backEnd.SendAsync(asked.AsReply(8), new byte[8]).AsTask().InTime();
        await Eventually.TrueAsync(() => clock.ActiveTimers > 0);
        await frontEnd.DisposeAsync();
        (await running.InTime()).End.Should().StartWith("the front-end closed");
        await backEnd.DisposeAsync();
    }

    [Theory]
    [InlineData("reorder,duplicate", "2,1,1")]
    [InlineData("reorder,cut=5", "")]
    [InlineData("cut=5,drop", "2")]
    [InlineData("add-descriptors=2,take-descriptors", "1,2")]
    [InlineData("reorder,drop", "2")]
    public async Task Several_rules_meet_one_message_in_their_order(string actions, string came)
    {
        await using ProxyBench bench = ProxyBench.Start([.. actions.Split(',').Select(static action => $"{action}@SET_VRING_NUM#1")]);
        await ProxyBench.AskAsync(bench.FrontEnd, Num, [1, 0, 0, 0, 0, 0, 0, 0]);
        await Task.WhenAny(ProxyBench.AskAsync(bench.FrontEnd, Num, [2, 0, 0, 0, 0, 0, 0, 0]));
        await Task.WhenAny(Eventually.TrueAsync(() => bench.Seen.Count == 2), bench.Ended);
        await bench.FrontEnd.DisposeAsync();
        List<byte> got = [];
        try
        {
            while (await bench.BackEnd.ReceiveAsync().AsTask().InTime() is { } message)
            {
                using (message)
                {
                    message.DescriptorCount.Should().Be(0);
                    got.Add(message.Payload[0]);
                }
            }
        }
        catch (VhostUserProtocolException)
        {
            // cut
        }

        string.Join(',', got).Should().Be(came);
    }

    [Fact]
    public async Task A_message_that_nothing_follows_goes_on_at_the_end()
    {
        await using ProxyBench bench = ProxyBench.Start("reorder@SET_VRING_NUM");
        await ProxyBench.AskAsync(bench.FrontEnd, Num, _payload);
        await Eventually.TrueAsync(() => bench.Seen.Count == 1);
        await bench.FrontEnd.DisposeAsync();
        (await ProxyBench.NextAsync(bench.BackEnd)).Payload.Should().Equal(_payload);
    }

    [Theory]
    [InlineData("set=4:ff02@SET_VRING_NUM", 8u, 1u, 8u, "00000000ff020000", 1)]
    [InlineData("set=7:aabbcc@SET_VRING_NUM", 8u, 1u, 8u, "00000000000100aa", 1)]
    [InlineData("set=9:aa@SET_VRING_NUM", 8u, 1u, 8u, "0000000000010000", 1)]
    [InlineData("request=0x63@SET_VRING_NUM", 0x63u, 1u, 8u, "0000000000010000", 1)]
    [InlineData("flags=0xd@SET_VRING_NUM", 8u, 0xdu, 8u, "0000000000010000", 1)]
    [InlineData("resize=3@SET_VRING_NUM", 8u, 1u, 3u, "000000", 1)]
    [InlineData("resize=10@SET_VRING_NUM", 8u, 1u, 10u, "00000000000100000000", 1)]
    [InlineData("take-descriptors@SET_VRING_NUM", 8u, 1u, 8u, "0000000000010000", 0)]
    [InlineData("add-descriptors=3@SET_VRING_NUM", 8u, 1u, 8u, "0000000000010000", 4)]
    public async Task A_message_is_another_one(string rule, uint request, uint flags, uint size, string payload, int descriptors)
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        await using (ProxyBench bench = ProxyBench.Start(rule))
        {
            using EventNotifier descriptor = new();
            await ProxyBench.AskAsync(bench.FrontEnd, Num, _payload, descriptor.Descriptor);
            ProxyBench.Said said = await ProxyBench.NextAsync(bench.BackEnd);
            said.Header.Should().Be(new VhostUserHeader(request, (VhostUserHeaderFlags)flags, size));
            Convert.ToHexStringLower(said.Payload).Should().Be(payload);
            said.Descriptors.Should().Be(descriptors);
            await Eventually.TrueAsync(() => bench.Seen.Count == 1);
            bench.Seen.Single().Fault.Should().Be(rule);
            bench.Seen.Single().Payload.ToArray().Should().Equal(_payload, "it is shown as it came");
        }

        before.AssertBack();
    }

    [Theory]
    [InlineData("cut=5@SET_VRING_NUM", 5)]
    [InlineData("cut=14@SET_VRING_NUM", 14)]
    [InlineData("cut=0@SET_VRING_NUM", 0)]
    [InlineData("close@SET_VRING_NUM", 0)]
    public async Task A_message_is_the_last(string rule, int bytes)
    {
        await using ProxyBench bench = ProxyBench.Start(rule);
        await ProxyBench.AskAsync(bench.FrontEnd, Num, _payload);
        if (bytes == 0)
        {
            await ProxyBench.ExpectEndAsync(bench.BackEnd);
        }
        else
        {
            Func<Task> receive = () => bench.BackEnd.ReceiveAsync().AsTask().InTime();
            await receive.Should().ThrowAsync<VhostUserProtocolException>().WithMessage($"*after {bytes} bytes*");
        }

        await ProxyBench.ExpectEndAsync(bench.FrontEnd);
        (await bench.Ended.InTime()).End.Should().Contain("fault");
    }

    [Fact]
    public async Task A_header_may_announce_more_than_comes()
    {
        await using ProxyBench bench = ProxyBench.Start("size=20@SET_VRING_NUM");
        await ProxyBench.AskAsync(bench.FrontEnd, Num, _payload);
        await ProxyBench.AskAsync(bench.FrontEnd, Base, _payload);
        ProxyBench.Said said = await ProxyBench.NextAsync(bench.BackEnd);
        said.Header.PayloadSize.Should().Be(20);
        said.Payload.Should().HaveCount(20).And.StartWith(_payload, "what follows is the next message");
    }

    [Theory]
    [InlineData("drop", "no fault")]
    [InlineData("drop=1@SET_OWNER", "no action")]
    [InlineData("delay@SET_OWNER", "lacks its value")]
    [InlineData("delay=x@SET_OWNER", "'x' is no number")]
    [InlineData("delay=3600001@SET_OWNER", "0 to 3600000")]
    [InlineData("drop@SET_ONER", "'SET_ONER' is no message of the Main channel")]
    [InlineData("drop@backend:SET_OWNER", "'SET_OWNER' is no message of the Backend channel")]
    [InlineData("drop@SET_OWNER#0", "counted from #1")]
    [InlineData("set=1:0@SET_OWNER", "pairs of hexadecimal digits")]
    [InlineData("set=1@SET_OWNER", "OFFSET:HEX")]
    [InlineData("cut=-1@SET_OWNER", "'-1' is no number")]
    [InlineData("lose@SET_OWNER", "'lose' is no action")]
    public void A_rule_that_makes_no_sense_says_why(string rule, string why) =>
        FluentActions.Invoking(() => FaultRule.Parse(rule)).Should().Throw<FormatException>().WithMessage($"*{why}*");

    [Fact]
    public void Nobody_makes_a_rule_but_by_writing_it()
    {
        typeof(FaultRule).GetConstructors().Should().BeEmpty();
        typeof(FaultRule).GetProperties().Should().OnlyContain(static property => property.SetMethod == null || !property.SetMethod.IsPublic);
    }

    [Fact]
    public void Every_message_of_every_channel_has_a_name_in_rules()
    {
        foreach (MessageContract contract in MessageContracts.All)
        {
            string channel = contract.Channel switch
            {
                VhostUserChannel.Backend => "backend:",
                VhostUserChannel.Gpu => "gpu:",
                _ => "",
            };
            FaultRule rule = FaultRule.Parse($"drop@{channel}{contract.Name}");
            (rule.Channel, rule.Request).Should().Be((contract.Channel, contract.Code));
            FaultRule.Parse($"drop@{channel}{contract.Name["VHOST_USER_".Length..]}").Request.Should().Be(contract.Code);
        }
    }
}
