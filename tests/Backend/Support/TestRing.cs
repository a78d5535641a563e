using System.Diagnostics;
using Vhost.Protocol;

namespace Vhost.Backend.Tests;

/// <summary>The driver's half of one split ring, by hand: 16 descriptors, each request a readable and a writable buffer of 64 bytes.</summary>
internal sealed class TestRing(TestGuest guest, int index) : IDisposable
{
    public const ushort Size = 16;
    private const ulong Stride = 0x10000;
    private const int BufferSize = 64;

    private ushort _submitted;
    private ushort _seen;

    public int Index => index;

    public EventNotifier Kick { get; } = new();

    public EventNotifier Call { get; } = new();

    public EventNotifier Error { get; } = new();

    public ulong DescriptorOffset => (ulong)index * Stride;

    public ulong AvailableOffset => DescriptorOffset + 0x1000;

    public ulong UsedOffset => DescriptorOffset + 0x2000;

    public VhostUserVringAddress Address => new(
        (uint)index, 0, guest.User(DescriptorOffset), guest.User(UsedOffset), guest.User(AvailableOffset), 0);

    public ushort UsedIndex => guest.Read<ushort>(UsedOffset + 2);

    public ushort SubmittedIndex => _submitted;

    /// <summary>Publishes a request without kicking.</summary>
    public void Submit(byte fill)
    {
        ushort slot = (ushort)(_submitted % (Size / 2));
        ushort head = (ushort)(slot * 2);
        ulong readable = BufferOffset(slot, writable: false);
        ulong writable = BufferOffset(slot, writable: true);
        guest.WriteBytes(readable, Enumerable.Repeat(fill, BufferSize).ToArray());
        guest.WriteBytes(writable, new byte[BufferSize]);
        WriteDescriptor(head, guest.Guest(readable).Value, BufferSize, 1, (ushort)(head + 1));
        WriteDescriptor((ushort)(head + 1), guest.Guest(writable).Value, BufferSize, 2, 0);
        guest.Write(AvailableOffset + 4 + (ulong)(_submitted % Size) * 2, head);
        // used_event: with EVENT_IDX, call when this request is used.
        guest.Write(AvailableOffset + 4 + Size * 2, _submitted);
        Thread.MemoryBarrier();
        _submitted++;
        guest.Write(AvailableOffset + 2, _submitted);
        Thread.MemoryBarrier();
    }

    public void SubmitAndKick(byte fill)
    {
        Submit(fill);
        Kick.Signal();
    }

    /// <summary>Starts both indices at a number other than 0.</summary>
    public void StartAt(ushort position)
    {
        _submitted = position;
        _seen = position;
        guest.Write(AvailableOffset + 2, position);
        guest.Write(UsedOffset + 2, position);
    }

    /// <summary>Waits until the next request is used and returns its writable buffer.</summary>
    public async Task<byte[]> NextUsedAsync()
    {
        Stopwatch clock = Stopwatch.StartNew();
        while (UsedIndex == _seen)
        {
            clock.Elapsed.Should().BeLessThan(TimeSpan.FromSeconds(10), "the back-end should have used request {0} of queue {1}", _seen, index);
            await Task.Delay(1);
        }

        uint id = guest.Read<uint>(UsedOffset + 4 + (ulong)(_seen % Size) * 8);
        _seen++;
        return guest.ReadBytes(BufferOffset((ushort)(id / 2), writable: true), BufferSize);
    }

    /// <summary>Waits until everything submitted is used.</summary>
    public async Task AllUsedAsync()
    {
        while (UsedIndex != _submitted)
            await Task.Yield();
        _seen = _submitted;
    }

    public async Task ExpectEchoAsync(byte fill)
    {
        byte[] bytes = await NextUsedAsync();
        bytes.Should().AllBeEquivalentTo(fill);
    }

    public async Task EchoAsync(byte fill)
    {
        SubmitAndKick(fill);
        await ExpectEchoAsync(fill);
    }

    /// <summary>One request, waited for on the calling thread and on the call descriptor, so that only the back-end's time counts.</summary>
    public void EchoBlocking(byte fill)
    {
        Stopwatch clock = Stopwatch.StartNew();
        SubmitAndKick(fill);
        while (UsedIndex == _seen)
        {
            clock.Elapsed.Should().BeLessThan(TimeSpan.FromSeconds(10), "the back-end should have used request {0} of queue {1}", _seen, index);
            Call.Wait(TimeSpan.FromMilliseconds(100));
            Call.TryConsume();
        }

        _seen++;
    }

    public void WriteDescriptor(ushort at, ulong address, uint length, ushort flags, ushort next)
    {
        ulong offset = DescriptorOffset + (ulong)at * 16;
        guest.Write(offset, address);
        guest.Write(offset + 8, length);
        guest.Write(offset + 12, flags);
        guest.Write(offset + 14, next);
    }

    public void Dispose()
    {
        Kick.Dispose();
        Call.Dispose();
        Error.Dispose();
    }

    private ulong BufferOffset(ushort slot, bool writable) => DescriptorOffset + 0x4000 + (ulong)slot * 2 * BufferSize + (writable ? BufferSize : 0u);
}
