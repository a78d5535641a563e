using System.Buffers;
using System.Buffers.Binary;
using System.IO.Pipelines;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>What a console device makes of a driver that is written by hand.</summary>
public sealed class ConsoleDeviceTests : IDisposable
{
    private const ulong Data = 0x10_0000;

    private readonly GuestMemory _memory = GuestRam.Create(0x80_0000);
    private readonly GuestMemoryLease _lease;
    private readonly ConsoleDevice _device = new(new ConsoleDeviceOptions
    {
        Ports = [new ConsolePortOptions(), new ConsolePortOptions { Name = "agent", IsConsole = false }],
        Size = new ConsoleSize(80, 25),
        BufferSize = 4096,
    });

    private uint _rings;
    private HandRing _ring = null!;
    private DeviceVirtqueue _queue = null!;

    public ConsoleDeviceTests()
    {
        _lease = _memory.Acquire();
        _device.Configure((VirtioFeatures)(ulong)VirtioConsoleFeatures.MultiPort);
    }

    private ConsolePort Port => _device.Ports[0];

    public void Dispose()
    {
        _queue?.Deactivate();
        _ring?.Dispose();
        _lease.Dispose();
        _memory.Dispose();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void R05_A_buffer_larger_than_the_pipe_is_taken_piece_by_piece_and_given_back_once(bool packed)
    {
        Start(packed);
        byte[] text = Some(300_000);
        Put(Data, text);
        _ring.Offer(deviceWrites: false, (Data, text.Length));
        List<byte> got = [];

        for (int turn = 0; turn < 10 && got.Count < text.Length; turn++)
        {
            _ring.Used.Should().BeEmpty("the buffer is not used up");
            Take();
            Port.BytesFromGuest.Should().BeLessThanOrEqualTo(got.Count + ConsoleInlet.MostPiece, "one piece at a time");
            got.AddRange(Read(Port));
        }

        got.Should().Equal(text);
        _ring.Used.Select(used => used.Length).Should().Equal(0u);
    }

    [Fact]
    public void R03_A_buffer_of_gigabytes_of_the_same_bytes_costs_a_piece_of_memory_at_a_time()
    {
        Start(packed: false);
        (ulong, int)[] pieces = [.. Enumerable.Repeat((Data, 0x40_0000), 100)];
        _ring.Offer(deviceWrites: false, pieces);

        Take();
        Take();

        Port.BytesFromGuest.Should().Be(ConsoleInlet.MostPiece);
        _queue.InFlight.Should().Be(0, "a queue that is stopped now has nothing to wait for");
    }

    [Fact]
    public void R19_A_half_taken_buffer_goes_on_behind_what_was_taken_when_its_ring_does()
    {
        Start(packed: false);
        byte[] text = Some(100_000);
        Put(Data, text);
        _ring.Offer(deviceWrites: false, (Data, text.Length));
        Take();
        byte[] first = Read(Port);

        uint at = _queue.Base;
        _queue.Deactivate();
        at.Should().Be(0, "the buffer is not used up");
        _queue = DeviceVirtqueue.TryActivate(_memory, _ring.Setup(1, VirtioFeatures.Version1), null, out _, out _)!;
        Take();

        byte[] all = [.. first, .. Read(Port)];
        all.Should().Equal(text);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void What_the_guest_writes_is_thrown_away_once_the_application_wants_no_more(bool withError)
    {
        Start(packed: false);
        Port.Input.Complete(withError ? new InvalidOperationException("the application's own") : null);
        for (int i = 0; i < 3; i++)
            _ring.Offer(deviceWrites: false, (Data, 5000));

        for (int turn = 0; turn < 3; turn++)
            Take();

        _ring.Used.Should().HaveCount(3);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void R09_Buffers_without_bytes_come_back_and_hold_nothing_up(bool packed)
    {
        Start(packed);
        _ring.Offer(deviceWrites: true, (Data, 64)); // nothing to read in it
        Put(Data, "ab"u8.ToArray());
        _ring.OfferMixed(1, (Data, 2), (Data + 0x1000, 8));

        Take();

        _ring.Used.Select(used => used.Length).Should().Equal(0u, 0u);
        Read(Port).Should().Equal("ab"u8.ToArray());
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(7)]
    public void R09_A_control_message_that_is_too_short_is_counted_and_given_back(int length)
    {
        Start(packed: false, VirtioConsoleQueues.ControlTransmit);
        if (length == 0)
            _ring.Offer(deviceWrites: true, (Data, 8));
        else
            _ring.Offer(deviceWrites: false, (Data, length));

        Hear();

        (_device.RefusedControlMessages, _ring.Used.Count).Should().Be((1, 1));
    }

    [Theory]
    [InlineData(2u, VirtioConsoleEvent.PortReady)]
    [InlineData(uint.MaxValue, VirtioConsoleEvent.PortReady)]
    [InlineData(0x8000_0000u, VirtioConsoleEvent.PortOpen)]
    [InlineData(0u, VirtioConsoleEvent.PortName)]
    [InlineData(1u, (VirtioConsoleEvent)0xFFFF)]
    public void Control_messages_of_no_port_or_no_such_event_change_nothing(uint port, VirtioConsoleEvent what)
    {
        Start(packed: false, VirtioConsoleQueues.ControlTransmit);
        Say(new VirtioConsoleControl(port, what, 1));

        _device.RefusedControlMessages.Should().Be(1);
        _device.Ports.Should().OnlyContain(one => !one.IsGuestOpen);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void The_handshake_tells_each_port_in_the_order_of_the_specification(bool packed)
    {
        Start(packed, VirtioConsoleQueues.ControlTransmit);
        Say(new VirtioConsoleControl(uint.MaxValue, VirtioConsoleEvent.DeviceReady, 1));
        Restart(packed, VirtioConsoleQueues.ControlReceive);
        Told().Should().Equal("0 DeviceAdd 1", "1 DeviceAdd 1");
        Restart(packed, VirtioConsoleQueues.ControlTransmit);
        Say(new VirtioConsoleControl(0, VirtioConsoleEvent.PortReady, 1));
        Say(new VirtioConsoleControl(1, VirtioConsoleEvent.PortReady, 1));
        Restart(packed, VirtioConsoleQueues.ControlReceive);

        Told().Should().Equal("0 ConsolePort 1", "0 Resize 0 80x25", "0 PortOpen 1", "1 PortName 1 agent", "1 PortOpen 1");
    }

    [Fact]
    public void B16_A_driver_that_says_the_same_without_end_and_hears_nothing_costs_nothing()
    {
        Start(packed: false, VirtioConsoleQueues.ControlTransmit);
        for (int i = 0; i < 100_000; i++)
        {
            Say(new VirtioConsoleControl(i % 2 == 0 ? uint.MaxValue : 0, i % 2 == 0 ? VirtioConsoleEvent.DeviceReady : VirtioConsoleEvent.PortReady, 1));
        }

        Restart(packed: false, VirtioConsoleQueues.ControlReceive);
        Told().Should().HaveCount(5, "each thing is told once");
    }

    [Fact]
    public void R10_A_control_buffer_that_is_too_small_comes_back_empty_and_the_message_waits()
    {
        Start(packed: false, VirtioConsoleQueues.ControlTransmit);
        Say(new VirtioConsoleControl(0, VirtioConsoleEvent.DeviceReady, 1));
        Restart(packed: false, VirtioConsoleQueues.ControlReceive);
        _ring.Offer(deviceWrites: true, (Data, 7));
        _ring.Offer(deviceWrites: false, (Data, 8));
        Tell();
        _ring.Used.Select(used => used.Length).Should().Equal(0u, 0u);

        Told().Should().Equal("0 DeviceAdd 1", "1 DeviceAdd 1");
    }

    [Fact]
    public void A_port_that_the_driver_could_not_set_up_is_told_nothing()
    {
        Start(packed: false, VirtioConsoleQueues.ControlTransmit);
        Say(new VirtioConsoleControl(1, VirtioConsoleEvent.PortReady, 1));
        Say(new VirtioConsoleControl(1, VirtioConsoleEvent.PortReady, 0));
        _device.Ports[1].IsOpen = false;
        Hear();
        Restart(packed: false, VirtioConsoleQueues.ControlReceive);

        Told().Should().BeEmpty();
    }

    [Fact]
    public void A_turn_ends_however_much_is_offered()
    {
        Start(packed: false);
        for (int i = 0; i < 100; i++)
            _ring.Offer(deviceWrites: false, (Data, 1));

        Take();

        _ring.Used.Should().HaveCount(64);
    }

    [Theory]
    [InlineData(0, 1, null, 4096)]
    [InlineData(128, 1, null, 4096)]
    [InlineData(2, 0, null, 4096)]
    [InlineData(1, 1, "", 4096)]
    [InlineData(1, 1, null, 4095)]
    public void Options_out_of_range_are_named(int ports, int multiPort, string? name, int buffer)
    {
        ConsoleDeviceOptions options = new()
        {
            Ports = [.. Enumerable.Repeat(new ConsolePortOptions { Name = name }, ports)],
            MultiPort = multiPort == 0 ? false : null,
            BufferSize = buffer,
        };

        FluentActions.Invoking(() => new ConsoleDevice(options)).Should().Throw<ArgumentException>().WithMessage("*must be*".Replace("must be", ports == 1 ? "must be" : "port", StringComparison.Ordinal));
    }

    private static byte[] Some(int count)
    {
        byte[] bytes = new byte[count];
        new Random(count).NextBytes(bytes);
        return bytes;
    }

    private static byte[] Read(ConsolePort port)
    {
        if (!port.Input.TryRead(out ReadResult read))
            return [];
        byte[] bytes = read.Buffer.ToArray();
        port.Input.AdvanceTo(read.Buffer.End);
        port.Inlet.RoomAsync(CancellationToken.None).Wait(Eventually.Deadline).Should().BeTrue();
        return bytes;
    }

    private void Start(bool packed, int queue = 1)
    {
        _ring = HandRing.Create(_memory, 0x1_0000 * ++_rings, 128, packed);
        _queue = DeviceVirtqueue.TryActivate(_memory, _ring.Setup(queue, VirtioFeatures.Version1), null, out _, out string why) ?? throw new InvalidOperationException(why);
    }

    private void Restart(bool packed, int queue)
    {
        _queue.Deactivate();
        _ring.Dispose();
        Start(packed, queue);
    }

    private void Take()
    {
        Port.Inlet.Take(_queue);
        _queue.Flush();
    }

    private void Say(in VirtioConsoleControl message)
    {
        byte[] bytes = new byte[VirtioConsoleControl.Size];
        message.Write(bytes);
        Put(Data, bytes);
        _ring.Offer(deviceWrites: false, (Data, bytes.Length));
        Hear();
    }

    private void Hear()
    {
        _device.Control.Take(_queue);
        _queue.Flush();
    }

    private void Tell()
    {
        _device.Control.Give(_queue);
        _queue.Flush();
    }

    /// <summary>Offers buffers enough, and says what came.</summary>
    private List<string> Told()
    {
        int before = _ring.Used.Count;
        for (int i = 0; i < 16; i++)
            _ring.Offer(deviceWrites: true, (Data + ((ulong)i * 256), 256));
        Tell();
        return [.. _ring.Used.Skip(before).Select((used, i) => Describe(Get(Data + ((ulong)i * 256), (int)used.Length)))];
    }

    private static string Describe(byte[] message)
    {
        VirtioConsoleControl.TryRead(message, out VirtioConsoleControl head).Should().BeTrue();
        string rest = head.Event switch
        {
            VirtioConsoleEvent.PortName => " " + System.Text.Encoding.UTF8.GetString(message[8..]),
            VirtioConsoleEvent.Resize => $" {BinaryPrimitives.ReadUInt16LittleEndian(message.AsSpan(8))}x{BinaryPrimitives.ReadUInt16LittleEndian(message.AsSpan(10))}",
            _ => "",
        };
        return $"{head.Port} {head.Event} {head.Value}{rest}";
    }

    private void Put(ulong at, byte[] bytes) => _lease.TryCopyFrom(bytes, new GuestAddress(at)).Should().BeTrue();

    private byte[] Get(ulong at, int count)
    {
        byte[] bytes = new byte[count];
        _lease.TryCopyTo(new GuestAddress(at), bytes).Should().BeTrue();
        return bytes;
    }
}
