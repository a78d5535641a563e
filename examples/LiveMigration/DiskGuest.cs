using System.Buffers.Binary;
using Vhost.Frontend;
using Vhost.Protocol;

namespace LiveMigration;

/// <summary>Writes blocks and reads them back, several at a time; each has its number and how often it was written in every eighth byte.</summary>
internal sealed class DiskGuest(GuestRam ram) : Guest(ram)
{
    public const int DiskSize = 32 << 20;

    private const int BlockSize = 4096;
    private const int Blocks = DiskSize / BlockSize;
    private const int Slots = 8;
    private const ulong RequestsAt = 0x10_0000;
    private const ulong DataAt = 0x20_0000;

    private readonly GuestRing _ring = new(0, at: 0x1_0000, size: 32);
    private readonly ulong[] _writes = new ulong[Blocks];
    private readonly int[] _block = new int[Slots];
    private readonly bool[] _reads = new bool[Slots];
    private readonly byte[] _bytes = new byte[BlockSize];
    private bool _begun;

    public override VirtioFeatures Features => VirtioFeatures.Version1 | (VirtioFeatures)(ulong)(VirtioBlkFeatures.Flush | VirtioBlkFeatures.ConfigWriteCache);

    public override IReadOnlyList<GuestRing> Rings => [_ring];

    /// <summary>The driver switches the write cache off: a state of the device that stands in no ring.</summary>
    public override ValueTask SetUpAsync(VhostUserFrontend device) => device.WriteConfigAsync(VirtioBlkConfig.WriteBackOffset, new byte[] { 0 });

    public override async ValueTask VerifyAsync(VhostUserFrontend device)
    {
        byte[] writeBack = new byte[1];
        await device.ReadConfigAsync(VirtioBlkConfig.WriteBackOffset, writeBack);
        if (writeBack[0] != 0)
            throw new InvalidOperationException("The device has forgotten that its write cache is off.");
    }

    protected override bool Work()
    {
        if (!_begun)
            Begin(Slots);
        bool worked = !_begun;
        _begun = true;
        while (_ring.TryTake(Ram, out ushort head, out _))
        {
            End(head / 3);
            worked = true;
        }

        if (worked)
            _ring.Publish(Ram);
        return worked;
    }

    private void Begin(int slots)
    {
        for (int slot = 0; slot < slots; slot++)
        {
            _block[slot] = slot;
            Submit(slot, reads: false);
        }
    }

    /// <summary>What was written is read back; what was read is compared, and the next block's turn comes.</summary>
    private void End(int slot)
    {
        if (Ram.Read<byte>(StatusOf(slot)) is not 0 and var status)
            throw new IOException($"Block {_block[slot]}: status {status}.");
        if (!_reads[slot])
        {
            Submit(slot, reads: true);
            return;
        }

        Ram.Read(DataOf(slot), _bytes);
        for (int i = 0; i < BlockSize; i += 8)
        {
            if (BinaryPrimitives.ReadUInt64LittleEndian(_bytes.AsSpan(i)) != Content(_block[slot]))
                throw new IOException($"Block {_block[slot]} has other bytes at {i} than were written last.");
        }

        Verified(BlockSize);
        _block[slot] = (_block[slot] + Slots) % Blocks;
        Submit(slot, reads: false);
    }

    private void Submit(int slot, bool reads)
    {
        _reads[slot] = reads;
        int block = _block[slot];
        if (!reads)
        {
            _writes[block]++;
            for (int i = 0; i < BlockSize; i += 8)
                BinaryPrimitives.WriteUInt64LittleEndian(_bytes.AsSpan(i), Content(block));
            Ram.Write(DataOf(slot), _bytes);
        }

        Ram.Write(RequestOf(slot), new VirtioBlkRequestHeader(reads ? VirtioBlkRequestType.In : VirtioBlkRequestType.Out, 0, (ulong)block * (BlockSize / VirtioBlkRequestHeader.SectorSize)));
        Ram.Write(StatusOf(slot), (byte)0xFF);
        _ring.Offer(Ram, (ushort)(3 * slot), new RingBuffer(RequestOf(slot), VirtioBlkRequestHeader.Size, false), new RingBuffer(DataOf(slot), BlockSize, reads), new RingBuffer(StatusOf(slot), 1, true));
    }

    private ulong Content(int block) => ((ulong)block << 32) | _writes[block];

    private static ulong RequestOf(int slot) => RequestsAt + ((ulong)slot * 64);

    private static ulong StatusOf(int slot) => RequestOf(slot) + 32;

    private static ulong DataOf(int slot) => DataAt + ((ulong)slot * BlockSize);
}
