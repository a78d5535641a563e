using Vhost.Protocol;

namespace Vhost.Conformance.Tests.Mutants;

/// <summary>Requests of packed rings: copies of their descriptors, in entries that are a list while they are free.</summary>
internal sealed class HandPackedInflight(HandSession session, VhostUserInflight said, GuestMemory memory) : HandInflight(session, said, memory)
{
    private const ulong HeaderSize = 32;
    private const ulong EntrySize = 32;
    private const ulong FreeAt = 12;
    private const ulong OldFreeAt = 14;
    private const ulong UsedAt = 16;
    private const ulong OldUsedAt = 18;
    private const ulong UsedTurnAt = 20;
    private const ulong OldUsedTurnAt = 21;
    private const ulong LinkAt = 2;
    private const ulong LastAt = 4;
    private const ulong CountAt = 6;
    private const ulong CounterAt = 8;
    private const ulong IdAt = 16;
    private const ulong FlagsAt = 18;
    private const ulong LengthAt = 20;
    private const ulong AddressAt = 24;

    /// <summary>What was taken from a ring and not given back, in the order in which it was taken; null when the area says nothing of the ring, or nothing that can be.</summary>
    /// <param name="queue">The ring.</param>
    /// <param name="size">Its entries.</param>
    /// <param name="used">Where its next used descriptor goes: what the area says of it, if it says something.</param>
    /// <param name="flags">Reads the flags at a place of the ring.</param>
    public List<HandNoted>? Recover(int queue, uint size, ref HandPlace used, Func<HandPlace, ushort> flags)
    {
        ulong at = At(queue);
        if (IsInUse(at, size))
        {
            Settle(at, size, flags);
            if (TryClearFree(at, size) && Left(at, size) is { } left)
            {
                used = Used(at, UsedAt, UsedTurnAt, size);
                return left;
            }
        }

        Initialise(at, size, used);
        return null;
    }

    /// <summary>Notes a request.</summary>
    /// <returns>Its first entry.</returns>
    /// <exception cref="HandFaultException">There is no free entry.</exception>
    public ushort Take(int queue, uint size, IReadOnlyList<HandDescriptor> descriptors)
    {
        if (Session.Is(Sin.NotesNoPackedRequest)) return 0;
        ulong at = At(queue);
        ushort first = Get<ushort>(at + OldFreeAt), free = first;
        ulong head = Entry(at, first, size);
        Put(head + CountAt, (ushort)0);
        Put(head + CounterAt, Counter++);
        Put(head, (byte)1);
        for (ushort i = 1; i <= descriptors.Count; i++)
        {
            Put(head + LastAt, free);
            Put(head + CountAt, i);
            ulong entry = Entry(at, free, size);
            Copy(entry, descriptors[i - 1]);
            free = Get<ushort>(entry + LinkAt);
            Put(at + FreeAt, free);
        }

        Put(at + OldFreeAt, free);
        return first;
    }

    /// <summary>Before the ring says that the request was given back.</summary>
    public void Completing(int queue, uint size, ushort first, HandPlace used)
    {
        if (Session.Is(Sin.NotesNoPackedRequest)) return;
        ulong at = At(queue);
        ushort last = Get<ushort>(Entry(at, first, size) + LastAt);
        Put(Entry(at, last, size) + LinkAt, Get<ushort>(at + FreeAt));
        Put(at + FreeAt, first);
        if (Session.Is(Sin.KeepsNoPackedPosition)) return;
        Put(at + UsedTurnAt, (byte)(used.Turn ? 1 : 0));
        Put(at + UsedAt, (ushort)used.Index);
    }

    public void Completed(int queue, uint size, ushort first)
    {
        ulong at = At(queue);
        if (!Session.Is(Sin.NeverClearsPackedMark)) Put(Entry(at, first, size), (byte)0);
        CopyWords(at, fromOld: false);
    }

    private bool IsInUse(ulong at, uint size) =>
        Get<ushort>(at + VersionAt) == 1 && Get<ushort>(at + SizeAt) == size && Get<ushort>(at + UsedAt) < size && Get<ushort>(at + OldUsedAt) < size;

    /// <summary>A batch counts if the driver has seen it: then the ring has something else at the first place of it than what the driver made available.</summary>
    private void Settle(ulong at, uint size, Func<HandPlace, ushort> flags)
    {
        HandPlace now = Used(at, UsedAt, UsedTurnAt, size), before = Used(at, OldUsedAt, OldUsedTurnAt, size);
        bool seen = now != before && !before.IsAvailable(flags(before));
        if (Session.Is(Sin.ForgetsPackedBatch)) seen = false;
        if (Session.Is(Sin.BelievesUnseenBatch)) seen = true;
        CopyWords(at, fromOld: !seen);
    }

    /// <summary>What is free is not in flight.</summary>
    /// <returns>Whether the list has an end, and is of this ring.</returns>
    private bool TryClearFree(ulong at, uint size)
    {
        ushort entry = Get<ushort>(at + FreeAt);
        for (uint steps = 0; entry != size; steps++)
        {
            if (entry > size) return false;
            if (steps == size)
            {
                Session.IsWedged |= Session.Is(Sin.FollowsFreeListForEver);
                return false;
            }

            Put(Entry(at, entry, size), (byte)0);
            entry = Get<ushort>(Entry(at, entry, size) + LinkAt);
        }

        return true;
    }

    private List<HandNoted>? Left(ulong at, uint size)
    {
        List<HandNoted> left = [];
        long descriptors = 0;
        for (ushort entry = 0; entry < size; entry++)
        {
            if (Get<byte>(Entry(at, entry, size)) != 1) continue;
            if (Noted(at, entry, size) is not { } noted) return null;
            left.Add(noted);
            descriptors += noted.Descriptors.Length;
        }

        Counter = Math.Max(Counter, left.Count == 0 ? 0 : left.Max(static noted => noted.Counter) + 1);
        left.Sort(static (one, other) => one.Counter.CompareTo(other.Counter));
        return descriptors <= size && left.DistinctBy(static noted => noted.Descriptors[^1].Third).Count() == left.Count ? left : null;
    }

    private HandNoted? Noted(ulong at, ushort first, uint size)
    {
        ushort count = Get<ushort>(Entry(at, first, size) + CountAt);
        if (count == 0 || count > size) return null;
        HandDescriptor[] descriptors = new HandDescriptor[count];
        ushort next = first;
        for (int i = 0; i < count; i++)
        {
            if (next >= size) return null;
            ulong entry = Entry(at, next, size);
            descriptors[i] = new HandDescriptor(Get<ulong>(entry + AddressAt), Get<uint>(entry + LengthAt), Get<ushort>(entry + IdAt), Get<ushort>(entry + FlagsAt));
            next = Get<ushort>(entry + LinkAt);
        }

        return new HandNoted(Get<ulong>(Entry(at, first, size) + CounterAt), first, descriptors);
    }

    private void Initialise(ulong at, uint size, HandPlace used)
    {
        Put(at + VersionAt, (ushort)0);
        Put(at + SizeAt, (ushort)size);
        for (ushort entry = 0; entry < size; entry++)
        {
            Put(Entry(at, entry, size), (byte)0);
            Put(Entry(at, entry, size) + LinkAt, (ushort)(entry + 1));
        }

        Put(at + FreeAt, (ushort)0);
        Put(at + UsedAt, (ushort)used.Index);
        Put(at + UsedTurnAt, (byte)(used.Turn ? 1 : 0));
        CopyWords(at, fromOld: false);
        Put(at + VersionAt, (ushort)(Session.Is(Sin.WritesNoPackedVersion) ? 0 : 1));
    }

    /// <summary>Makes the words of the list and of the used position the same as those of the last batch, or the other way round.</summary>
    private void CopyWords(ulong at, bool fromOld)
    {
        foreach ((ulong now, ulong old) in ((ulong, ulong)[])[(FreeAt, OldFreeAt), (UsedAt, OldUsedAt)])
            Put(at + (fromOld ? now : old), Get<ushort>(at + (fromOld ? old : now)));
        Put(at + (fromOld ? UsedTurnAt : OldUsedTurnAt), Get<byte>(at + (fromOld ? OldUsedTurnAt : UsedTurnAt)));
    }

    private void Copy(ulong entry, HandDescriptor descriptor)
    {
        if (Session.Is(Sin.CopiesNoDescriptor)) return;
        Put(entry + IdAt, descriptor.Third);
        Put(entry + FlagsAt, descriptor.Fourth);
        Put(entry + LengthAt, descriptor.Length);
        Put(entry + AddressAt, descriptor.Address);
    }

    private HandPlace Used(ulong at, ulong index, ulong turn, uint size) => new(Get<ushort>(at + index) % size, Get<byte>(at + turn) != 0);

    private static ulong Entry(ulong queue, ushort entry, uint size) =>
        entry < size ? queue + HeaderSize + (EntrySize * entry) : throw new HandFaultException($"entry {entry} of {size} in an in-flight area");
}
