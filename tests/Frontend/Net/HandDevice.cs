using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>The device's half of a ring by hand, in either format: sees what the driver offers and gives it back, lies included.</summary>
internal abstract class HandDevice : IDisposable
{
    public static HandDevice Create(GuestMemory memory, VringSettings ring, bool packed) => packed ? new Packed(memory, ring) : new Split(memory, ring);

    /// <summary>The next chain of the driver; null when there is none.</summary>
    public abstract HandChain? Next();

    /// <summary>Gives a chain back.</summary>
    public abstract void Use(HandChain chain, uint length);

    /// <summary>Gives back something that was never offered.</summary>
    public abstract void UseUnknown(ushort id, uint length);

    /// <summary>Writes over everything that the driver wrote.</summary>
    public abstract void Scribble();

    public List<HandChain> All()
    {
        List<HandChain> all = [];
        while (Next() is { } chain)
            all.Add(chain);
        return all;
    }

    public abstract void Dispose();

    private sealed class Split(GuestMemory memory, VringSettings ring) : HandDevice
    {
        private readonly RawSplitRing _ring = new(memory, ring.DescriptorTable.Value, ring.AvailableRing.Value, ring.UsedRing.Value, ring.Size);
        private ushort _seen;

        public override HandChain? Next()
        {
            if (_ring.AvailableIndex == _seen)
                return null;
            ushort head = _ring.Read<ushort>(_ring.AvailableRing.Value + 4 + (2UL * (ulong)(_seen++ % ring.Size)));
            List<(ulong, uint, bool)> pieces = [];
            Walk(_ring.DescriptorTable.Value, head, pieces);
            return new HandChain(head, pieces);
        }

        public override void Use(HandChain chain, uint length) => _ring.Use(chain.Id, length);

        public override void UseUnknown(ushort id, uint length) => _ring.Use(id, length);

        public override void Scribble()
        {
            for (int i = 0; i < ring.Size; i++)
                _ring.Descriptor(i, ulong.MaxValue, uint.MaxValue, 0xFFFF, 0xFFFF);
        }

        public override void Dispose() => _ring.Dispose();

        private void Walk(ulong table, ushort index, List<(ulong, uint, bool)> pieces)
        {
            while (true)
            {
                ulong descriptor = table + (16UL * index);
                ushort flags = _ring.Read<ushort>(descriptor + 12);
                ulong address = _ring.Read<ulong>(descriptor);
                if ((flags & RawSplitRing.Indirect) != 0)
                    Walk(address, 0, pieces);
                else
                    pieces.Add((address, _ring.Read<uint>(descriptor + 8), (flags & RawSplitRing.Write) != 0));
                if ((flags & RawSplitRing.Next) == 0)
                    return;
                index = _ring.Read<ushort>(descriptor + 14);
            }
        }
    }

    private sealed class Packed(GuestMemory memory, VringSettings ring) : HandDevice
    {
        private readonly RawPackedRing _ring = new(memory, ring.DescriptorTable.Value, ring.AvailableRing.Value, ring.UsedRing.Value, ring.Size);
        private int _seen;
        private int _used;

        public override HandChain? Next()
        {
            if (!IsOffered(_seen))
                return null;
            List<(ulong, uint, bool)> pieces = [];
            int first = _seen;
            while (true)
            {
                (ushort id, uint length, ushort flags) = _ring.At(_seen % ring.Size);
                ulong address = _ring.Read<ulong>(_ring.DescriptorRing.Value + (16UL * (ulong)(_seen % ring.Size)));
                _seen++;
                for (uint i = 0; (flags & RawPackedRing.Indirect) != 0 && i < length / 16; i++)
                {
                    ulong entry = address + (16UL * i);
                    pieces.Add((_ring.Read<ulong>(entry), _ring.Read<uint>(entry + 8), (_ring.Read<ushort>(entry + 14) & RawPackedRing.Write) != 0));
                }

                if ((flags & RawPackedRing.Indirect) == 0)
                    pieces.Add((address, length, (flags & RawPackedRing.Write) != 0));
                if ((flags & RawPackedRing.Next) == 0)
                    return new HandChain(id, pieces) { Descriptors = _seen - first };
            }
        }

        public override void Use(HandChain chain, uint length)
        {
            _ring.Use(_used % ring.Size, chain.Id, length, _used / ring.Size % 2 == 0);
            _used += chain.Descriptors;
        }

        public override void UseUnknown(ushort id, uint length) => _ring.Use(_used % ring.Size, id, length, _used / ring.Size % 2 == 0);

        public override void Scribble()
        {
            // Flags stay as they are: others would say that a descriptor is used.
            for (int i = 0; i < ring.Size; i++)
            {
                ulong descriptor = _ring.DescriptorRing.Value + (16UL * (ulong)i);
                _ring.Put(descriptor, ulong.MaxValue);
                _ring.Put(descriptor + 8, uint.MaxValue);
                _ring.Put(descriptor + 12, ushort.MaxValue);
            }
        }

        public override void Dispose() => _ring.Dispose();

        private bool IsOffered(int place)
        {
            bool wrap = place / ring.Size % 2 == 0;
            ushort flags = _ring.At(place % ring.Size).Flags;
            return ((flags & RawPackedRing.Available) != 0) == wrap && ((flags & RawPackedRing.Used) != 0) != wrap;
        }
    }
}

/// <summary>What a driver offers: pieces, each with whether the device may write it.</summary>
internal sealed record HandChain(ushort Id, IReadOnlyList<(ulong At, uint Length, bool Write)> Pieces)
{
    public int Descriptors { get; init; } = 1;
}
