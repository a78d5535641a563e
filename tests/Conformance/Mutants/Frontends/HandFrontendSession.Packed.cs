using Vhost.Conformance.Tests.Mutants;
using Vhost.Protocol;

namespace Vhost.Conformance.Tests;

// The same reads in a packed ring, where the back-end offers one.
internal sealed partial class HandFrontendSession
{
    private const ushort InnerId = 77;

    private HandPlace _packedNext = new(0, true);
    private HandPlace _packedUsed = new(0, true);

    private bool IsPacked => Has(VirtioFeatures.RingPacked) && _sin != FrontendSin.StaysWithSplitRing;

    /// <summary>Where the ring stands, as GET_VRING_BASE says it.</summary>
    private uint Standing => IsPacked ? _packedNext.Word | ((uint)_packedUsed.Word << 16) : _available;

    private async Task ReadPackedAsync()
    {
        ushort id = (ushort)(Reads % (int)RingSize);
        int slots = WritePackedChain(id);
        _packedNext = _packedNext.Ahead(slots, RingSize);
        Interlocked.MemoryBarrier();
        _kick!.Signal();
        await CompletedPackedAsync(id, slots);
    }

    /// <summary>The flags of the first descriptor come last: with them the chain is available.</summary>
    private int WritePackedChain(ushort id)
    {
        if (Has(VirtioFeatures.IndirectDescriptors) && Reads % 2 == 1)
        {
            WritePacked(IndirectTable, _buffers, HeaderSize, 0, 0);
            WritePacked(IndirectTable + 16, _buffers + HeaderSize, BlockSize, 0, Write);
            WritePacked(IndirectTable + 32, _buffers + HeaderSize + BlockSize, 1, 0, Write);
            Offer(_packedNext, IndirectTable, 48, id, Indirect);
            return 1;
        }

        Offer(_packedNext.Ahead(2, RingSize), _buffers + HeaderSize + BlockSize, 1, id, Write);
        Offer(_packedNext.Ahead(1, RingSize), _buffers + HeaderSize, BlockSize, InnerId, Write | Next);
        Volatile.WriteBarrier();
        Offer(_packedNext, _buffers, HeaderSize, InnerId, Next);
        return 3;
    }

    private void Offer(HandPlace place, ulong address, uint length, ushort id, int flags) =>
        WritePacked(PackedAt(place), address, length, id, flags | (place.Turn ? HandPlace.Available : HandPlace.Used));

    private void WritePacked(ulong at, ulong address, uint length, ushort id, int flags)
    {
        Put(at, address);
        Put(at + 8, length);
        Put(at + 12, id);
        Volatile.WriteBarrier();
        Put(at + 14, (ushort)flags);
    }

    private async Task CompletedPackedAsync(ushort id, int slots)
    {
        await UsedAsync(() => IsUsed(_packedUsed) || IsStrange());
        HandPlace used = _packedUsed;
        if (_sin == FrontendSin.ReadsPackedAddressAgain && Get<ulong>(PackedAt(used)) == ulong.MaxValue) throw new HandCrashException();
        if (_sin == FrontendSin.DiesOfPackedTwice && IsUsed(used.Ahead(slots, RingSize))) throw new HandCrashException();
        Require(!IsUsed(used.Ahead(slots, RingSize)), "one used descriptor for one request");
        CheckPacked(id, Get<ushort>(PackedAt(used) + 12), Get<uint>(PackedAt(used) + 8));
        _packedUsed = used.Ahead(slots, RingSize);
    }

    private void CheckPacked(ushort wanted, ushort id, uint length)
    {
        if (_sin == FrontendSin.DiesOfPackedIdBeyond && id == RingSize) throw new HandCrashException();
        if (_sin == FrontendSin.DiesOfPackedForeignId && id < RingSize && id != wanted) throw new HandCrashException();
        if (_sin == FrontendSin.DiesOfPackedLength && length == uint.MaxValue) throw new HandCrashException();
        if (_sin == FrontendSin.DiesOfFlagsAlone && id == InnerId) throw new HandCrashException();
        Require(id == wanted, "the completion of its own request");
        Require(length <= Written, "a completion of no more than it gave");
    }

    /// <summary>What a sin takes for a reason to end.</summary>
    private bool IsStrange()
    {
        ushort flags = Get<ushort>(PackedAt(_packedUsed) + 14);
        bool dies = _sin switch
        {
            FrontendSin.DiesOfOtherTurn => (flags & HandPlace.Available) != 0 != _packedUsed.Turn && (flags & HandPlace.Used) != 0 != _packedUsed.Turn,
            FrontendSin.DiesOfUsedBehind => !IsUsed(_packedUsed) && IsUsed(_packedUsed.Ahead(1, RingSize)),
            _ => false,
        };
        return dies ? throw new HandCrashException() : false;
    }

    private bool IsUsed(HandPlace place)
    {
        ushort flags = Get<ushort>(PackedAt(place) + 14);
        return (flags & HandPlace.Available) != 0 == place.Turn && (flags & HandPlace.Used) != 0 == place.Turn;
    }

    private ulong PackedAt(HandPlace place) => DescriptorTable + (16UL * place.Index);
}
