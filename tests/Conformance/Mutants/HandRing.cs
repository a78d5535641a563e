using Vhost.Protocol;

namespace Vhost.Conformance.Tests.Mutants;

/// <summary>A ring that runs, in one of the two formats. It keeps positions only; everything else is read where it lies.</summary>
internal abstract class HandRing(HandSession session, HandVring vring)
{
    protected const ushort Next = 1;
    protected const ushort Writable = 2;
    protected const ushort Indirect = 4;

    /// <summary>Where the ring goes on, as GET_VRING_BASE says it.</summary>
    public abstract uint Position { get; }

    protected HandSession Session => session;

    protected HandVring Vring => vring;

    protected HandSpace Space => session.Space;

    protected uint Size { get; } = session.Is(Sin.IgnoresRingSize) ? Math.Max(vring.Size / 2, 1) : vring.Size;

    protected VhostUserVringAddress At => vring.Address!.Value;

    protected bool UsesEvents => session.Has(VirtioFeatures.EventIndex) && !session.Is(Sin.DropsEventIndex);

    /// <summary>Takes the next request; null when there is none.</summary>
    /// <exception cref="HandFaultException">The ring is broken.</exception>
    /// <exception cref="HandMissException">An address is not known at present; nothing was taken.</exception>
    public abstract HandChain? Take();

    public abstract void Complete(HandChain chain, uint written);

    /// <summary>Whether the driver wants to be told of what was completed since this was asked last.</summary>
    public abstract bool WantsCall();

    /// <summary>Asks for kicks from here on.</summary>
    /// <returns>Whether something came meanwhile.</returns>
    public abstract bool Rearm();

    protected bool WantsCallFor(bool any, Func<bool> driver)
    {
        if (!any || session.Is(Sin.NeverCalls)) return false;
        Thread.MemoryBarrier();
        try
        {
            return driver();
        }
        catch (Exception e) when (e is HandMissException or HandFaultException)
        {
            return true;
        }
    }

    /// <summary>Marks what was written to the ring itself, where the front-end wants that.</summary>
    protected void MarkRing(GuestAddress at, ulong offset, uint length)
    {
        if ((At.Flags & VhostUserVringAddress.LogUsedRing) == 0 || session.Is(Sin.MarksNoUsedRing)) return;
        bool said = !session.UsesIommu && !session.Has(VirtioFeatures.RingPacked);
        session.Log.Mark(said ? new GuestAddress(At.LogGuestAddress + offset) : at, length);
    }

    /// <summary>Adds what an indirect table lists; both formats have the same length and flags there.</summary>
    protected void AddTable(HandChain chain, ulong table, uint bytes, uint room, bool linked)
    {
        if (!session.Has(VirtioFeatures.IndirectDescriptors)) throw new HandFaultException("indirect descriptors are not negotiated");
        if (bytes == 0 || bytes % 16 != 0) throw new HandFaultException("length of an indirect table");
        uint count = bytes / 16;
        if (count > room) throw new HandFaultException("an indirect table longer than the ring");
        uint index = 0;
        for (uint steps = 0; steps < count; steps++)
        {
            HandDescriptor entry = Space.Entry<HandDescriptor>(table + (16UL * index));
            ushort flags = linked ? entry.Third : entry.Fourth;
            if ((flags & Indirect) != 0) throw new HandFaultException("an indirect table in an indirect table");
            chain.Add(entry.Address, entry.Length, (flags & Writable) != 0);
            if (linked && (flags & Next) == 0) return;
            index = linked && !session.Is(Sin.ReadsTableInOrder) ? entry.Fourth : index + 1;
            if (index >= count && linked) throw new HandFaultException("next leads out of an indirect table");
        }

        if (linked) throw new HandFaultException("an indirect table without an end");
    }
}
