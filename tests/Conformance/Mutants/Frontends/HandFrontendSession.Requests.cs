using System.Diagnostics;
using Vhost.Protocol;

namespace Vhost.Conformance.Tests;

// Reads of one block, one at a time.
internal sealed partial class HandFrontendSession
{
    private const ushort Next = 1;
    private const ushort Write = 2;
    private const ushort Indirect = 4;
    private const uint HeaderSize = 16;
    private const uint BlockSize = 512;
    private const uint Written = BlockSize + 1;

    private static readonly TimeSpan _requestTimeout = TimeSpan.FromSeconds(1);

    private ushort _available;
    private ushort _usedSeen;
    private ushort _free;

    private async Task ReadAsync(ulong sector)
    {
        _asksForRing = true;
        Put(_buffers, (uint)VirtioBlkRequestType.In);
        Put(_buffers + 8, sector);
        Put(_buffers + HeaderSize + BlockSize, (byte)0xff);
        if (IsPacked) await ReadPackedAsync();
        else await ReadSplitAsync();
        if (_sin == FrontendSin.DiesOfChannelEnd && _channelEnded) throw new HandCrashException();
    }

    private async Task ReadSplitAsync()
    {
        ushort head = WriteChain();
        if (_sin == FrontendSin.HeadBeyondRing) head = (ushort)RingSize;
        Put(AvailableRing + 4 + (2UL * (_available % RingSize)), head);
        _available += _sin == FrontendSin.AvailableIndexJumps ? (ushort)100 : (ushort)1;
        Volatile.WriteBarrier();
        Put(AvailableRing + 2, _available);
        Interlocked.MemoryBarrier();
        if (_sin == FrontendSin.DiesOfStrangeWish && Has(VirtioFeatures.EventIndex) && (ushort)(_available - Get<ushort>(UsedRing + 4 + (8UL * RingSize))) is > 1000 and < 64_000) throw new HandCrashException();
        if (_sin != FrontendSin.NeverKicks) _kick!.Signal();
        await CompletedAsync(head);
    }

    private ushort WriteChain()
    {
        bool indirect = Has(VirtioFeatures.IndirectDescriptors) && Reads % 2 == 1;
        if (_sin == FrontendSin.IndirectWithoutBit && !Has(VirtioFeatures.IndirectDescriptors)) indirect = true;
        if (_sin is FrontendSin.OddTable or FrontendSin.NextWithIndirect or FrontendSin.TableInTable) indirect = true;
        ushort head = _free;
        ulong table = indirect ? IndirectTable : DescriptorTable;
        ushort first = indirect ? (ushort)0 : head;
        ulong beyond = _sin == FrontendSin.BufferOutsideMemory ? 0x1000_0000UL : 0;
        uint header = _sin == FrontendSin.ShortHeader ? 8 : HeaderSize;
        ushort statusFlags = _sin switch { FrontendSin.ChainLoops => Write | Next, FrontendSin.NextBeyondTable => Write | Next, FrontendSin.NoStatus => 0, FrontendSin.TableInTable => Indirect, _ => Write };
        ushort dataFlags = _sin == FrontendSin.NoStatus ? Next : (ushort)(Write | Next);
        (ushort before, ushort after) = _sin == FrontendSin.WritableFirst ? ((ushort)(Write | Next), Next) : (Next, dataFlags);
        ushort second = Place(first + 1, indirect), third = Place(first + 2, indirect);
        Describe(table, first, _buffers, header, before, second);
        Describe(table, second, _buffers + HeaderSize + beyond, BlockSize, after, third);
        Describe(table, third, _buffers + HeaderSize + BlockSize, 1, statusFlags, _sin == FrontendSin.NextBeyondTable ? (ushort)200 : first);
        if (indirect) Describe(DescriptorTable, head, IndirectTable, _sin == FrontendSin.OddTable ? 47U : 48, _sin == FrontendSin.NextWithIndirect ? (ushort)(Indirect | Next) : Indirect, Place(head + 1, indirect: false));
        _free = Place(head + (indirect ? 1 : 3), indirect: false);
        return head;
    }

    /// <summary>What the device says it used must be what it was given, and nothing else.</summary>
    private async Task CompletedAsync(ushort head)
    {
        await UsedAsync(() => Get<ushort>(UsedRing + 2) != _usedSeen);
        ushort used = Get<ushort>(UsedRing + 2), ahead = (ushort)(used - _usedSeen);
        if (_sin == FrontendSin.DiesOfIndexBack && ahead > 0x8000) throw new HandCrashException();
        if (_sin == FrontendSin.DiesOfIndexJump && ahead is > (ushort)RingSize and < 0x8000) throw new HandCrashException();
        if (_sin == FrontendSin.DiesOfUsedTwice && ahead == 2) throw new HandCrashException();
        Require(ahead == 1, "one used element for one request");
        ulong element = UsedRing + 4 + (8UL * (_usedSeen % RingSize));
        CheckElement(head, Get<uint>(element), Get<uint>(element + 4));
        _usedSeen = used;
    }

    /// <summary>Waits until the device has used something; it calls then.</summary>
    private async Task UsedAsync(Func<bool> isUsed)
    {
        int callsForNothing = 0;
        long begun = Stopwatch.GetTimestamp();
        while (!isUsed())
        {
            Require(!_incoming.IsCompleted, "a back-end that stays");
            TimeSpan left = _requestTimeout - Stopwatch.GetElapsedTime(begun);
            Require(left > TimeSpan.Zero, "an answer to each request");
            await CalledAsync(left);
            if (_call!.TryConsume() && _sin == FrontendSin.DiesOfCallsForNothing && !isUsed() && ++callsForNothing > 5) throw new HandCrashException();
        }

        Volatile.ReadBarrier();
        _call!.TryConsume();
    }

    /// <summary>Waits until the device calls, the back-end says something or goes, or time is up.</summary>
    private async Task CalledAsync(TimeSpan time)
    {
        using CancellationTokenSource enough = CancellationTokenSource.CreateLinkedTokenSource(_stop);
        enough.CancelAfter(time);
        Task called = _call!.WaitAsync(enough.Token).AsTask();
        await Task.WhenAny(called, _incoming);
        await enough.CancelAsync();
        await called.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _stop.ThrowIfCancellationRequested();
    }

    private void CheckElement(ushort head, uint id, uint length)
    {
        if (_sin == FrontendSin.DiesOfUsedIdBeyond && id == RingSize) throw new HandCrashException();
        if (_sin == FrontendSin.DiesOfUsedIdHuge && id == uint.MaxValue) throw new HandCrashException();
        if (_sin == FrontendSin.DiesOfForeignUsedId && id < RingSize && id != head) throw new HandCrashException();
        if (_sin == FrontendSin.DiesOfUsedLength && length > Written) throw new HandCrashException();
        if (_sin == FrontendSin.ReadsDescriptorsAgain && Get<uint>(DescriptorTable + (16UL * id) + 8) == uint.MaxValue) throw new HandCrashException();
        if (_sin == FrontendSin.ReadsDescriptorLengthsAgain && id == head && Get<uint>(DescriptorTable + (16UL * id) + 8) == 0) throw new HandCrashException();
        if (_sin == FrontendSin.ReadsHeadsAgain && Get<ushort>(AvailableRing + 4 + (2UL * (_usedSeen % RingSize))) != head) throw new HandCrashException();
        Require(id == head, "the completion of its own request");
        Require(length <= Written, "a completion of no more than it gave");
    }

    private void Describe(ulong table, ushort at, ulong address, uint length, ushort flags, ushort next)
    {
        ulong entry = table + (16UL * at);
        Put(entry, address);
        Put(entry + 8, length);
        Put(entry + 12, flags);
        Put(entry + 14, next);
    }

    private static ushort Place(int at, bool indirect) => (ushort)(indirect ? at : at % (int)RingSize);

    private void Put<T>(ulong address, T value)
        where T : unmanaged => Require(_lease.TryWrite(new(address), value), "its own memory");

    private T Get<T>(ulong address)
        where T : unmanaged => _lease.TryRead(new(address), out T value) ? value : throw new HandLeavesException("its own memory");
}
