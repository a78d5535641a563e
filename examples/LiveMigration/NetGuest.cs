using System.Buffers.Binary;
using Vhost.Frontend;
using Vhost.Protocol;

namespace LiveMigration;

/// <summary>Sends numbered packets, which the other side sends back: each comes back whole, in order and once. A packet may get lost when the guest moves, as on any network.</summary>
internal sealed class NetGuest(GuestRam ram) : Guest(ram)
{
    private const int Slots = 32;
    private const int PacketSize = 1024;
    private const int HeaderSize = VirtioNetHeader.Size;
    private const ulong ReceiveAt = 0x10_0000;
    private const ulong SendAt = 0x20_0000;
    private const ulong BufferSize = 2048;

    private readonly GuestRing _receive = new(0, at: 0x1_0000, size: Slots);
    private readonly GuestRing _send = new(1, at: 0x1_8000, size: Slots);
    private readonly byte[] _bytes = new byte[HeaderSize + PacketSize];
    private readonly byte[] _mac = new byte[MacAddress.Size];
    private readonly Stack<ushort> _free = new();
    private ulong _sent;
    private ulong _expected;
    private bool _begun;

    public override VirtioFeatures Features => VirtioFeatures.Version1 | (VirtioFeatures)(ulong)VirtioNetFeatures.Mac;

    public override IReadOnlyList<GuestRing> Rings => [_receive, _send];

    /// <summary>Packets that were sent and have not come back, though later ones have.</summary>
    public ulong Lost { get; private set; }

    /// <summary>The driver reads its address once, and expects to have it wherever it is: each back-end of this example makes up another one.</summary>
    public override ValueTask SetUpAsync(VhostUserFrontend device) => device.ReadConfigAsync(0, _mac);

    public override async ValueTask VerifyAsync(VhostUserFrontend device)
    {
        byte[] mac = new byte[MacAddress.Size];
        await device.ReadConfigAsync(0, mac);
        if (!mac.AsSpan().SequenceEqual(_mac))
            throw new InvalidOperationException("The device has another address than the guest knows.");
    }

    protected override bool Work()
    {
        if (!_begun)
            BeginReceiving();
        bool worked = !_begun;
        _begun = true;
        while (_send.TryTake(Ram, out ushort head, out _))
            _free.Push(head);
        while (_receive.TryTake(Ram, out ushort head, out uint written))
        {
            Compare(head, written);
            _receive.Offer(Ram, head, new RingBuffer(ReceiveAt + (head * BufferSize), (uint)BufferSize, true));
            worked = true;
        }

        if (worked)
            _receive.Publish(Ram);
        return Send() || worked;
    }

    private void BeginReceiving()
    {
        for (ushort slot = 0; slot < Slots; slot++)
        {
            _receive.Offer(Ram, slot, new RingBuffer(ReceiveAt + (slot * BufferSize), (uint)BufferSize, true));
            _free.Push(slot);
        }
    }

    private bool Send()
    {
        bool any = _free.Count > 0;
        while (_free.TryPop(out ushort slot))
        {
            ulong number = _sent++;
            _bytes.AsSpan(0, HeaderSize).Clear();
            for (int i = HeaderSize; i < _bytes.Length; i += 8)
                BinaryPrimitives.WriteUInt64LittleEndian(_bytes.AsSpan(i), number);
            Ram.Write(SendAt + (slot * BufferSize), _bytes);
            _send.Offer(Ram, slot, new RingBuffer(SendAt + (slot * BufferSize), (uint)_bytes.Length, false));
        }

        if (any)
            _send.Publish(Ram);
        return any;
    }

    private void Compare(ushort slot, uint written)
    {
        if (written != _bytes.Length)
            throw new IOException($"A packet has {written} bytes, of {_bytes.Length} that were sent.");
        Ram.Read(ReceiveAt + (slot * BufferSize), _bytes);
        ulong number = BinaryPrimitives.ReadUInt64LittleEndian(_bytes.AsSpan(HeaderSize));
        for (int i = HeaderSize; i < _bytes.Length; i += 8)
        {
            if (BinaryPrimitives.ReadUInt64LittleEndian(_bytes.AsSpan(i)) != number)
                throw new IOException($"Packet {number} has other bytes at {i} than were sent.");
        }

        if (number < _expected || number >= _sent)
            throw new IOException($"Packet {number} has come, and {_expected} was to be the next.");
        Lost += number - _expected;
        _expected = number + 1;
        Verified(PacketSize);
    }
}
