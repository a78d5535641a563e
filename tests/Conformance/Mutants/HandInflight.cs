using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Conformance.Tests.Mutants;

/// <summary>The area in which requests of split rings are noted while they are worked on (vhost-user "Inflight I/O tracking").</summary>
internal sealed class HandInflight : IDisposable
{
    private const ulong HeaderSize = 16;
    private const ulong EntrySize = 16;

    private readonly HandSession _session;
    private readonly VhostUserInflight _said;
    private readonly GuestMemory _memory;
    private ulong _counter;

    private HandInflight(HandSession session, VhostUserInflight said, GuestMemory memory) => (_session, _said, _memory) = (session, said, memory);

    public static ulong SizeFor(VhostUserInflight asked) => asked.QueueCount * QueueBytes(asked.QueueSize);

    public static HandInflight? TryMap(HandSession session, VhostUserInflight said, SafeFileHandle descriptor)
    {
        try
        {
            using SharedMemory memory = SharedMemory.Map(descriptor, said.MmapOffset, said.MmapSize);
            return new HandInflight(session, said, GuestMemory.Create(new GuestMemoryRegion(default, memory)));
        }
        catch (Exception e) when (e is IOException or ArgumentException or OverflowException)
        {
            return null;
        }
    }

    public bool Covers(int queue, uint size) => queue >= _said.QueueCount || size <= _said.QueueSize;

    public bool Has(int queue) => queue < _said.QueueCount;

    /// <summary>What was taken from a ring and not given back, in the order in which it was taken; null when the area says nothing of the ring yet.</summary>
    public List<ushort>? Recover(int queue, uint size, ushort usedIndex)
    {
        ulong at = At(queue);
        if (Get<ushort>(at + 8) != 1)
        {
            Initialise(at, size, usedIndex);
            return null;
        }

        ForgetLastBatch(at, size, usedIndex);
        List<(ulong Counter, ushort Head)> found = [];
        for (ushort head = 0; head < size; head++)
        {
            if (Get<byte>(Entry(at, head)) == 1) found.Add((Get<ulong>(Entry(at, head) + 8), head));
        }

        found.Sort();
        _counter = Math.Max(_counter, found.Count == 0 ? 0 : found.Max(static f => f.Counter) + 1);
        return [.. found.Select(static f => f.Head)];
    }

    public void Take(int queue, ushort head)
    {
        if (_session.Is(Sin.NotesNoRequest)) return;
        ulong entry = Entry(At(queue), head);
        Put(entry + 8, _counter++);
        Put(entry, (byte)1);
    }

    /// <summary>Before the used index says that the request was given back.</summary>
    public void Completing(int queue, ushort head)
    {
        ulong at = At(queue);
        Put(Entry(at, head) + 6, Get<ushort>(at + 12));
        Put(at + 12, head);
    }

    public void Completed(int queue, ushort head, ushort usedIndex)
    {
        ulong at = At(queue);
        if (!_session.Is(Sin.NeverClearsMark)) Put(Entry(at, head), (byte)0);
        if (!_session.Is(Sin.KeepsNoUsedIndexInArea)) Put(at + 14, usedIndex);
    }

    public void Dispose() => _memory.Dispose();

    /// <summary>The one before was ended between the used index and the marks.</summary>
    private void ForgetLastBatch(ulong at, uint size, ushort usedIndex)
    {
        ushort batch = (ushort)(usedIndex - Get<ushort>(at + 14));
        if (_session.Is(Sin.ForgetsLastBatch)) return;
        ushort head = Get<ushort>(at + 12);
        for (int i = 0; i < Math.Min(batch, size) && head < size; i++)
        {
            Put(Entry(at, head), (byte)0);
            head = Get<ushort>(Entry(at, head) + 6);
        }

        Put(at + 14, usedIndex);
    }

    private void Initialise(ulong at, uint size, ushort usedIndex)
    {
        Put(at + 10, (ushort)size);
        Put(at + 14, usedIndex);
        Put(at + 8, (ushort)(_session.Is(Sin.WritesNoVersion) ? 0 : 1));
    }

    private static ulong QueueBytes(ushort size) => (HeaderSize + (EntrySize * size) + 63) / 64 * 64;

    private static ulong Entry(ulong queue, ushort head) => queue + HeaderSize + (EntrySize * head);

    private ulong At(int queue) => (ulong)queue * QueueBytes(_said.QueueSize);

    private T Get<T>(ulong at)
        where T : unmanaged
    {
        using GuestMemoryLease lease = _memory.Acquire();
        return lease.TryRead(new GuestAddress(at), out T value) ? value : default;
    }

    private void Put<T>(ulong at, T value)
        where T : unmanaged
    {
        using GuestMemoryLease lease = _memory.Acquire();
        lease.TryWrite(new GuestAddress(at), value);
    }
}
