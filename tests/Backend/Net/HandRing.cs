using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>The driver's half of a ring by hand, in either format: offers chains of any pieces and sees what came back.</summary>
internal abstract class HandRing(int size) : IDisposable
{
    private readonly List<(uint Id, uint Length)> _used = [];

    public int Size => size;

    /// <summary>Everything that came back so far.</summary>
    public IReadOnlyList<(uint Id, uint Length)> Used
    {
        get
        {
            Collect(_used);
            return _used;
        }
    }

    public static HandRing Create(GuestMemory memory, ulong at, int size, bool packed) => packed ? new Packed(memory, at, size) : new Split(memory, at, size);

    public abstract VirtqueueSetup Setup(int index, VirtioFeatures features);

    /// <summary>Offers a chain; returns its name.</summary>
    public uint Offer(bool deviceWrites, params ReadOnlySpan<(ulong At, int Length)> pieces)
    {
        Collect(_used); // before its place is used again
        return OfferMixed(deviceWrites ? 0 : pieces.Length, pieces);
    }

    /// <summary>Offers a chain whose first pieces the device reads; returns its name.</summary>
    public abstract uint OfferMixed(int readable, params ReadOnlySpan<(ulong At, int Length)> pieces);

    /// <summary>Offers a chain by a table of descriptors at this address.</summary>
    public abstract uint OfferIndirect(ulong table, bool deviceWrites, params ReadOnlySpan<(ulong At, int Length)> pieces);

    public abstract void Dispose();

    protected abstract void Collect(List<(uint Id, uint Length)> used);

    private sealed class Split(GuestMemory memory, ulong at, int size) : HandRing(size)
    {
        private readonly RawSplitRing _ring = new(memory, at, size);
        private int _next;
        private ushort _seen;

        public override VirtqueueSetup Setup(int index, VirtioFeatures features) => new(
            index,
            (uint)Size,
            new UserAddress(_ring.DescriptorTable.Value + GuestRam.UserOffset),
            new UserAddress(_ring.AvailableRing.Value + GuestRam.UserOffset),
            new UserAddress(_ring.UsedRing.Value + GuestRam.UserOffset),
            0,
            features | VirtioFeatures.IndirectDescriptors);

        public override uint OfferMixed(int readable, params ReadOnlySpan<(ulong At, int Length)> pieces)
        {
            ushort head = (ushort)(_next % Size);
            for (int i = 0; i < pieces.Length; i++)
            {
                bool last = i == pieces.Length - 1;
                ushort flags = (ushort)((i >= readable ? RawSplitRing.Write : 0) | (last ? 0 : RawSplitRing.Next));
                _ring.Descriptor(_next % Size, pieces[i].At, (uint)pieces[i].Length, flags, (ushort)((_next + 1) % Size));
                _next++;
            }

            _ring.Offer(head);
            return head;
        }

        public override uint OfferIndirect(ulong table, bool deviceWrites, params ReadOnlySpan<(ulong At, int Length)> pieces)
        {
            for (int i = 0; i < pieces.Length; i++)
            {
                bool last = i == pieces.Length - 1;
                ushort flags = (ushort)((deviceWrites ? RawSplitRing.Write : 0) | (last ? 0 : RawSplitRing.Next));
                _ring.DescriptorAt(table + (16UL * (ulong)i), pieces[i].At, (uint)pieces[i].Length, flags, (ushort)(i + 1));
            }

            ushort head = (ushort)(_next++ % Size);
            _ring.Descriptor(head, table, 16u * (uint)pieces.Length, RawSplitRing.Indirect);
            _ring.Offer(head);
            return head;
        }

        public override void Dispose() => _ring.Dispose();

        protected override void Collect(List<(uint Id, uint Length)> used)
        {
            while (_seen != _ring.UsedIndex)
                used.Add(_ring.UsedElement(_seen++));
        }
    }

    private sealed class Packed(GuestMemory memory, ulong at, int size) : HandRing(size)
    {
        private readonly RawPackedRing _ring = new(memory, at, size);
        private readonly Dictionary<uint, int> _lengths = [];
        private int _next;
        private int _seen;

        public override VirtqueueSetup Setup(int index, VirtioFeatures features) => new(
            index,
            (uint)Size,
            new UserAddress(_ring.DescriptorRing.Value + GuestRam.UserOffset),
            new UserAddress(_ring.DriverArea.Value + GuestRam.UserOffset),
            new UserAddress(_ring.DeviceArea.Value + GuestRam.UserOffset),
            0x8000,
            features | VirtioFeatures.IndirectDescriptors | VirtioFeatures.RingPacked);

        public override uint OfferMixed(int readable, params ReadOnlySpan<(ulong At, int Length)> pieces)
        {
            ushort id = FreeId();
            _lengths[id] = pieces.Length;
            int first = _next;
            for (int i = pieces.Length - 1; i >= 0; i--)
            {
                ushort flags = (ushort)((i >= readable ? RawPackedRing.Write : 0) | (i == pieces.Length - 1 ? 0 : RawPackedRing.Next));
                _ring.Offer((first + i) % Size, pieces[i].At, (uint)pieces[i].Length, id, flags, (first + i) / Size % 2 == 0);
            }

            _next += pieces.Length;
            return id;
        }

        public override uint OfferIndirect(ulong table, bool deviceWrites, params ReadOnlySpan<(ulong At, int Length)> pieces)
        {
            for (int i = 0; i < pieces.Length; i++)
            {
                _ring.Put(table + (16UL * (ulong)i), pieces[i].At);
                _ring.Put(table + (16UL * (ulong)i) + 8, (uint)pieces[i].Length);
                _ring.Put(table + (16UL * (ulong)i) + 14, (ushort)(deviceWrites ? RawPackedRing.Write : 0));
            }

            ushort id = FreeId();
            _lengths[id] = 1;
            _ring.Offer(_next % Size, table, 16u * (uint)pieces.Length, id, RawPackedRing.Indirect, _next / Size % 2 == 0);
            _next++;
            return id;
        }

        public override void Dispose() => _ring.Dispose();

        protected override void Collect(List<(uint Id, uint Length)> used)
        {
            while (true)
            {
                (ushort id, uint length, ushort flags) = _ring.At(_seen % Size);
                bool wrap = _seen / Size % 2 == 0;
                if (((flags & RawPackedRing.Used) != 0) != wrap || ((flags & RawPackedRing.Available) != 0) != wrap || _seen == _next)
                    return;
                used.Add((id, (flags & RawPackedRing.Write) != 0 ? length : 0));
                _lengths.Remove(id, out int descriptors);
                _seen += descriptors;
            }
        }

        private ushort FreeId() => (ushort)Enumerable.Range(0, Size).First(id => !_lengths.ContainsKey((uint)id));
    }
}
