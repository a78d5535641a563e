using System.Runtime.CompilerServices;
using Vhost.Protocol;

namespace Vhost.Conformance.Tests.Mutants;

/// <summary>Guest memory as a session sees it. Every access is translated anew, so that nothing outlives a change of the table or of the translations.</summary>
internal sealed class HandSpace(HandSession session) : IDisposable
{
    private const uint Page = 4096;

    public GuestMemory Table { get; private set; } = GuestMemory.Create();

    public void Replace(GuestMemory next)
    {
        GuestMemory old = Table;
        Table = next;
        old.Dispose();
    }

    /// <summary>Reads from a ring.</summary>
    public T Ring<T>(ulong at)
        where T : unmanaged => Read<T>(RingAddress(at, (uint)Unsafe.SizeOf<T>(), VhostUserIotlbPermission.ReadOnly));

    /// <summary>Writes to a ring.</summary>
    /// <returns>Where that was.</returns>
    public GuestAddress PutRing<T>(ulong at, T value)
        where T : unmanaged
    {
        GuestAddress address = RingAddress(at, (uint)Unsafe.SizeOf<T>(), VhostUserIotlbPermission.WriteOnly);
        using GuestMemoryLease lease = Table.Acquire();
        return lease.TryWrite(address, value) ? address : throw new HandMissException();
    }

    /// <summary>Reads what a descriptor points to: an entry of an indirect table.</summary>
    public T Entry<T>(ulong at)
        where T : unmanaged
    {
        if (!session.UsesIommu) return Read<T>(new GuestAddress(at));
        GuestAddress address = session.Iotlb.Translate(at, VhostUserIotlbPermission.ReadOnly, out ulong run);
        return run >= (ulong)Unsafe.SizeOf<T>() ? Read<T>(address) : throw new HandFaultException("an entry in two translations");
    }

    /// <summary>A ring is named by user addresses, or by I/O virtual addresses.</summary>
    public GuestAddress RingAddress(ulong at, uint length, VhostUserIotlbPermission access)
    {
        if (session.UsesIommu)
        {
            GuestAddress translated = session.Iotlb.Translate(at, access, out ulong run);
            return run >= length ? translated : throw new HandFaultException("a word of a ring in two translations");
        }

        if (session.Is(Sin.TakesUserAddressForGuestAddress)) return new GuestAddress(at);
        return Table.TryTranslate(new UserAddress(at), length, out GuestAddress address) ? address : throw new HandMissException();
    }

    /// <summary>Whether every page of a part of a ring is there; behind an IOMMU that is seen later.</summary>
    public bool HasRing(ulong at, ulong length)
    {
        if (session.UsesIommu) return true;
        for (ulong offset = 0; offset < length; offset += Page)
        {
            if (!IsUser(at + offset)) return false;
        }

        return IsUser(at + (length - 1));
    }

    /// <summary>Finds the pieces of a buffer.</summary>
    public void Locate(ulong address, uint length, bool writes, List<HandSegment> into)
    {
        VhostUserIotlbPermission access = writes ? VhostUserIotlbPermission.WriteOnly : VhostUserIotlbPermission.ReadOnly;
        while (session.UsesIommu && length > 0)
        {
            GuestAddress at = session.Iotlb.Translate(address, access, out ulong run);
            uint count = (uint)Math.Min(length, run);
            into.Add(new HandSegment(Mapped(at, count), count));
            (address, length) = (address + count, length - count);
        }

        if (length > 0) into.Add(new HandSegment(Mapped(new GuestAddress(address), length), length));
    }

    public bool TryRead(GuestAddress from, Span<byte> into)
    {
        using GuestMemoryLease lease = Table.Acquire();
        return lease.TryCopyTo(from, into);
    }

    public bool TryWrite(GuestAddress to, ReadOnlySpan<byte> bytes)
    {
        using GuestMemoryLease lease = Table.Acquire();
        return lease.TryCopyFrom(bytes, to);
    }

    public void Dispose() => Table.Dispose();

    private bool IsUser(ulong at) => Table.TryTranslate(new UserAddress(at), 1, out _);

    private T Read<T>(GuestAddress at)
        where T : unmanaged
    {
        using GuestMemoryLease lease = Table.Acquire();
        return lease.TryRead(at, out T value) ? value : throw new HandFaultException($"nothing at {at}");
    }

    private GuestAddress Mapped(GuestAddress at, uint length)
    {
        using GuestMemoryLease lease = Table.Acquire();
        bool mapped = session.Is(Sin.RefusesBufferInTwoRegions) ? Table.TryTranslate(at, length, out _) : lease.IsMapped(at, length);
        if (mapped || session.Is(Sin.ServesUnmappedBuffer)) return at;
        throw new HandFaultException($"{length} bytes at {at} are not mapped");
    }
}
