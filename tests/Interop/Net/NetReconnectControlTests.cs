using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>What a driver had set is set again when another back-end takes over, and commands go to whoever is there.</summary>
public sealed class NetReconnectControlTests
{
    private static readonly NetClientOptions _client = new() { ControlQueue = true, QueuePairs = 2, Mtu = 1400 };
    private static readonly NetDeviceOptions _device = new() { QueuePairs = 3, Mtu = 9000 };

    [Theory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(VirtioFeatures.RingPacked)]
    public async Task What_the_lost_one_had_confirmed_the_next_one_is_told(VirtioFeatures ring)
    {
        await using NetSuccession net = await NetSuccession.StartAsync(_client with { RingFeatures = ring }, _device);
        NetControl control = net.Client.Control!;
        MacAddress mac = MacAddress.Random();
        MacAddress[] stations = [MacAddress.Random(), MacAddress.Random()];
        await control.SetReceiveModeAsync(NetReceiveModes.Promiscuous, on: false).InTime();
        await control.SetReceiveModeAsync(NetReceiveModes.AllMulticast, on: true).InTime();
        await control.SetMacTableAsync(stations, [new MacAddress(0x0100_0000_0001)]).InTime();
        await control.SetMacAsync(mac).InTime();
        foreach (int id in (int[])[7, 8, 4095])
            await control.AddVlanAsync(id).InTime();
        await control.RemoveVlanAsync(8).InTime();

        for (int life = 0; life < 3; life++)
        {
            NetReceiveFilter before = net.Device.ReceiveFilter;
            await net.LoseAsync();
            await net.ReplaceAsync();

            NetReceiveFilter after = net.Device.ReceiveFilter;
            after.Should().NotBeSameAs(before);
            (after.Modes, after.Mac, net.Device.Mtu, net.Device.ActivePairs).Should().Be((NetReceiveModes.AllMulticast, mac, 1400, 2));
            (after.UnicastTable, after.MulticastTable).Should().BeEquivalentTo((stations, new[] { new MacAddress(0x0100_0000_0001) }));
            Enumerable.Range(0, 4096).Where(after.AcceptsVlan).Should().Equal(7, 4095);
        }
    }

    [Fact]
    public async Task A_driver_keeps_its_address_whatever_the_next_device_says()
    {
        await using NetSuccession net = await NetSuccession.StartAsync(_client, _device);
        MacAddress mac = net.Client.Mac;
        mac.Should().Be(net.Device.Mac);
        await net.LoseAsync();
        await net.ReplaceAsync();

        net.Client.Config!.Value.Mac.Should().NotBe(mac, "a device without an address of its own makes one up");
        (net.Client.Mac, net.Device.Mac).Should().Be((mac, mac));
    }

    [Fact]
    public async Task A_command_while_nobody_is_there_is_for_the_next_one()
    {
        await using NetSuccession net = await NetSuccession.StartAsync(_client, _device);
        NetControl control = net.Client.Control!;
        await net.LoseAsync();
        Task[] commands = [.. Enumerable.Range(1, 20).Select(id => control.AddVlanAsync(id).AsTask())];
        await ((Func<Task>)(() => control.AddVlanAsync(99, new CancellationTokenSource(20).Token).InTime())).Should().ThrowAsync<OperationCanceledException>();

        await net.ReplaceAsync();

        await Task.WhenAll(commands).InTime();
        Enumerable.Range(0, 4096).Where(net.Device.ReceiveFilter.AcceptsVlan).Should().Equal(Enumerable.Range(1, 20));
    }

    [Fact]
    public async Task A_command_that_was_not_answered_goes_to_the_next_one_after_what_that_is_told()
    {
        await using NetSuccession net = await NetSuccession.StartAsync(_client, _device);
        await net.Client.Control!.AddVlanAsync(1).InTime();
        await net.LoseAsync();
        Deaf deaf = new(new NetDevice(_device));
        net.Begin(deaf);
        await deaf.Heard.InTime(); // what it is told again, and does not confirm
        Task command = net.Client.Control.AddVlanAsync(2).AsTask();

        await net.EndAsync();
        net.Begin();

        await command.InTime();
        Enumerable.Range(0, 4096).Where(net.Device.ReceiveFilter.AcceptsVlan).Should().Equal(1, 2);
    }

    [Fact]
    public async Task A_command_under_way_when_the_back_end_is_lost_is_done_by_the_next_one_and_a_confirmation_needs_none()
    {
        Deaf first = new(new NetDevice(_device)) { Answers = 2 }; // of pairs and address
        await using NetSuccession net = await NetSuccession.StartAsync(_client with { ReplyTimeout = TimeSpan.FromSeconds(30) }, _device);
        TaskCompletionSource back = new(TaskCreationOptions.RunContinuationsAsynchronously);
        net.Client.Reconnected += (_, _) => back.TrySetResult();
        await net.LoseAsync();
        net.Begin(first);
        await back.Task.InTime(); // counted it is a moment earlier, when a confirmation would still be for the lost one
        Task confirmation = net.Client.Control!.AcknowledgeAnnouncementAsync().AsTask();
        await first.Heard.InTime();
        Task command = net.Client.Control.AddVlanAsync(2).AsTask();

        await net.EndAsync();
        await confirmation.InTime();
        net.Begin();

        await command.InTime();
        net.Device.ReceiveFilter.AcceptsVlan(2).Should().BeTrue();
    }

    [Fact]
    public async Task A_command_for_which_nobody_comes_in_time_says_so()
    {
        await using NetSuccession net = await NetSuccession.StartAsync(_client with { ReplyTimeout = TimeSpan.FromMilliseconds(300) }, _device);
        await net.LoseAsync();

        await ((Func<Task>)(() => net.Client.Control!.AddVlanAsync(1).InTime())).Should().ThrowAsync<VhostUserTimeoutException>().WithMessage("*AddVlan*no other one has come*");
    }

    [Fact]
    public async Task A_next_one_that_refuses_what_was_set_is_not_gone_on_with()
    {
        await using NetSuccession net = await NetSuccession.StartAsync(_client, _device);
        await net.Client.Control!.SetQueuePairsAsync(3).InTime();
        await net.LoseAsync();
        Task command = net.Client.Control.AddVlanAsync(1).AsTask();

        net.Begin(new Deaf(new NetDevice(_device)) { Refuses = true });

        await ((Func<Task>)(() => net.Client.Completion.InTime())).Should().ThrowAsync<NetControlException>().WithMessage("*SetQueuePairs*");
        await ((Func<Task>)(() => command.InTime())).Should().ThrowAsync<NetControlException>();
    }

    /// <summary>A network device that takes commands and does not answer them.</summary>
    private sealed class Deaf(NetDevice good) : IVhostUserNetDevice, IApplicationServedDevice
    {
        private readonly TaskCompletionSource _heard = new(TaskCreationOptions.RunContinuationsAsynchronously);

        /// <summary>Commands that it answers all the same.</summary>
        internal int Answers { get; set; }

        internal bool Refuses { get; init; }

        internal Task Heard => _heard.Task;

        public int QueuePairs => good.QueuePairs;

        public int QueueCount => good.QueueCount;

        public VirtioFeatures Features => good.Features;

        public int ConfigLength => good.ConfigLength;

        public bool TryReadConfig(uint offset, Span<byte> destination) => good.TryReadConfig(offset, destination);

        public void Configure(VirtioFeatures acknowledged) => good.Configure(acknowledged);

        public QueueDispatch DispatchOf(int queue, QueueDispatch chosen) => good.DispatchOf(queue, chosen);

        public void QueueStarted(ApplicationQueue queue)
        {
            // Nobody sends packets here.
        }

        public bool TrySetMtu(ulong mtu) => good.TrySetMtu(mtu);

        public void AnnounceAddress(MacAddress address) => good.AnnounceAddress(address);

        public void Process(DeviceVirtqueue queue)
        {
            while (queue.TryPop(out DescriptorChain chain))
            {
                if (Refuses || Answers-- > 0)
                {
                    chain.Writable.TryWrite(Refuses ? (byte)1 : (byte)0);
                    queue.Complete(chain, 1);
                    continue;
                }

                _heard.TrySetResult();
            }
        }
    }
}
