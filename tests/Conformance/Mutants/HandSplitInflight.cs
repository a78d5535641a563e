using Vhost.Protocol;

namespace Vhost.Conformance.Tests.Mutants;

/// <summary>Requests of split rings: an entry for each head.</summary>
internal sealed class HandSplitInflight(HandSession session, VhostUserInflight said, GuestMemory memory) : HandInflight(session, said, memory)
{
    private const ulong HeaderSize = 16;
    private const ulong EntrySize = 16;

    /// <summary>What was taken from a ring and not given back, in the order in which it was taken; null when the area says nothing of the ring yet.</summary>
    public List<ushort>? Recover(int queue, uint size, ushort usedIndex)
    {
        ulong at = At(queue);
        if (Get<ushort>(at + VersionAt) != 1)
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
        Counter = Math.Max(Counter, found.Count == 0 ? 0 : found.Max(static f => f.Counter) + 1);
        return [.. found.Select(static f => f.Head)];
    }

    public void Take(int queue, ushort head)
    {
        if (Session.Is(Sin.NotesNoRequest)) return;
        ulong entry = Entry(At(queue), head);
        Put(entry + 8, Counter++);
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
        if (!Session.Is(Sin.NeverClearsMark)) Put(Entry(at, head), (byte)0);
        if (!Session.Is(Sin.KeepsNoUsedIndexInArea)) Put(at + 14, usedIndex);
    }

    /// <summary>The one before was ended between the used index and the marks.</summary>
    private void ForgetLastBatch(ulong at, uint size, ushort usedIndex)
    {
        ushort batch = (ushort)(usedIndex - Get<ushort>(at + 14));
        if (Session.Is(Sin.ForgetsLastBatch)) return;
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
        Put(at + SizeAt, (ushort)size);
        Put(at + 14, usedIndex);
        Put(at + VersionAt, (ushort)(Session.Is(Sin.WritesNoVersion) ? 0 : 1));
    }

    private static ulong Entry(ulong queue, ushort head) => queue + HeaderSize + (EntrySize * head);
}
