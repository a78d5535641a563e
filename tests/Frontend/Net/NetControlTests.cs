using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>Commands to a device that is written by hand, and what its answers do.</summary>
public sealed class NetControlTests : IDisposable
{
    private const ulong RingStart = 0x1000;
    private const ulong PlaceStart = 0x10_0000;

    private readonly GuestMemory _memory = GuestRam.Create(4 << 20);
    private readonly EventNotifier _kick = new();
    private readonly EventNotifier _call = new();
    private GuestMemoryLease _lease;
    private NetControl _control = null!;
    private HandDevice _device = null!;

    public void Dispose()
    {
        _control.Close();
        _device.Dispose();
        _lease.Dispose();
        _memory.Dispose();
        _memory.Released.IsCompleted.Should().BeTrue();
        _kick.Dispose();
        _call.Dispose();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_command_is_laid_out_as_the_specification_says(bool packed)
    {
        Start(packed);
        Task command = _control.SetMacTableAsync([new MacAddress(0x060504030202)], []).AsTask();

        HandChain chain = await NextAsync();
        chain.Pieces.Select(piece => (piece.Length, piece.Write)).Should().Equal((16u, false), (1u, true));
        Get(chain.Pieces[0].At, 16).Should().Equal(1, 0, 1, 0, 0, 0, 2, 2, 3, 4, 5, 6, 0, 0, 0, 0);
        Answer(chain, 0, 1);

        await command.InTime();
    }

    [Theory]
    [InlineData(1, 1u, "*refused AddVlan (VIRTIO_NET_ERR)*")]
    [InlineData(0x55, 1u, "*0x55 in 1 bytes*")]
    [InlineData(0, 0u, "*0x00 in 0 bytes*")]
    [InlineData(0xFF, 1u, "*0xff in 1 bytes*")]
    public async Task Anything_but_one_byte_of_zero_is_an_error_of_that_command_alone(int answer, uint length, string message)
    {
        Start(packed: false);
        Task command = _control.AddVlanAsync(7).AsTask();
        Answer(await NextAsync(), (byte)answer, length);

        await ((Func<Task>)(() => command.InTime())).Should().ThrowAsync<NetControlException>().WithMessage(message);

        Task next = _control.AddVlanAsync(8).AsTask();
        Answer(await NextAsync(), 0, 1);
        await next.InTime();
    }

    [Fact]
    public async Task F10_an_answer_to_nothing_ends_the_queue()
    {
        Start(packed: false);
        Task command = _control.AddVlanAsync(7).AsTask();
        await NextAsync();
        _device.UseUnknown(60, 1);
        _call.Signal();

        await ((Func<Task>)(() => command.InTime())).Should().ThrowAsync<VirtqueueException>();
    }

    [Fact]
    public async Task A_device_that_never_answers_is_named_and_its_late_answer_is_that_of_the_old_command()
    {
        Start(packed: false, TimeSpan.FromMilliseconds(30));
        await ((Func<Task>)(() => _control.AddVlanAsync(7).InTime())).Should().ThrowAsync<VhostUserTimeoutException>().WithMessage("*AddVlan*hypervisor*");
        HandChain late = await NextAsync();

        Answer(late, 1, 1);
        Task next = _control.RemoveVlanAsync(7).AsTask();
        HandChain chain = await NextAsync();
        Get(chain.Pieces[0].At, 4).Should().Equal(2, 1, 7, 0);
        Answer(chain, 0, 1);

        // On a slow machine this one may be late as well, but it is never mistaken for the refused one.
        await ((Func<Task>)(() => next.InTime())).Should().NotThrowAsync<NetControlException>();
    }

    /// <summary>Its caller had seen a back-end, and comes to the ring when that is lost and the ring made anew.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_command_that_comes_late_does_not_get_between_what_the_next_back_end_is_told(bool packed)
    {
        Start(packed);
        _control.Suspend();
        await _control.RemakeAsync(CancellationToken.None).InTime();

        _control.TrySubmit(NetControlMessage.Vlan(7, wanted: true), restores: false).Should().BeFalse();
        _device.Next().Should().BeNull();

        Task told = _control.RestoreAsync(new MacAddress(0x060504030202), CancellationToken.None).AsTask();
        HandChain chain = await NextAsync();
        Get(chain.Pieces[0].At, 8).Should().Equal(1, 1, 2, 2, 3, 4, 5, 6);
        Answer(chain, 0, 1);
        await told.InTime();
    }

    private void Start(bool packed, TimeSpan? timeout = null)
    {
        NetClientOptions options = new() { ControlQueue = true, ReplyTimeout = timeout ?? Eventually.Deadline };
        VirtioFeatures features = VirtioFeatures.Version1 | (packed ? VirtioFeatures.RingPacked : 0);
        NetQueueShape shape = NetQueueShape.ForControl(options, features);
        DriverVirtqueue ring = DriverVirtqueue.Create(_memory, new GuestAddress(RingStart), shape.Ring, features);
        _control = new NetControl(2, ring, shape, new NetQueueMemory(_memory, new GuestAddress(PlaceStart), shape), _kick, _call, options);
        _device = HandDevice.Create(_memory, ring.Describe(2, _kick, _call), packed);
        _lease = _memory.Acquire();
    }

    private async Task<HandChain> NextAsync()
    {
        HandChain? chain = null;
        await Eventually.TrueAsync(() => (chain ??= _device.Next()) is not null);
        return chain!;
    }

    private void Answer(HandChain chain, byte answer, uint length)
    {
        _lease.TryWrite(new GuestAddress(chain.Pieces[1].At), answer).Should().BeTrue();
        _device.Use(chain, length);
        _call.Signal();
    }

    private byte[] Get(ulong at, int count)
    {
        byte[] bytes = new byte[count];
        _lease.TryCopyTo(new GuestAddress(at), bytes).Should().BeTrue();
        return bytes;
    }
}
