using Vhost.Protocol;

namespace Vhost.Conformance.Tests.Mutants;

/// <summary>What the front-end told of the IOMMU's translations.</summary>
internal sealed class HandIotlb(HandSession session)
{
    private const int Most = 4096;

    private readonly List<VhostUserIotlb> _entries = [];
    private readonly HashSet<(ulong, VhostUserIotlbPermission)> _asked = [];

    /// <summary>Where an address leads.</summary>
    /// <param name="at">The I/O virtual address.</param>
    /// <param name="access">What is to be done there.</param>
    /// <param name="run">Bytes that go on contiguously from there.</param>
    public GuestAddress Translate(ulong at, VhostUserIotlbPermission access, out ulong run)
    {
        foreach (VhostUserIotlb entry in _entries)
        {
            ulong offset = at - entry.Address.Value;
            if (offset >= entry.Size || !Allows(entry, access)) continue;
            run = entry.Size - offset;
            if (session.Is(Sin.TakesIovaForGuestAddress)) return new GuestAddress(at);
            if (session.Space.Table.TryTranslate(new UserAddress(entry.UserAddress.Value + offset), 1, out GuestAddress address)) return address;
            throw new HandMissException();
        }

        Ask(at, access);
        throw new HandMissException();
    }

    public bool TryUpdate(VhostUserIotlb said)
    {
        if (said.Size == 0 || said.Address.Value + (said.Size - 1) < said.Address.Value) return false;
        if (said.Permission is VhostUserIotlbPermission.None or > VhostUserIotlbPermission.ReadWrite) return false;
        bool mapped = session.Space.Table.TryTranslate(said.UserAddress, said.Size, out _);
        if (!mapped && !session.Is(Sin.AcceptsTranslationOutsideMemory)) return false;
        Remove(said.Address.Value, said.Size);
        if (_entries.Count == Most) _entries.RemoveAt(0);
        _entries.Add(said);
        _asked.Clear();
        return true;
    }

    public bool TryInvalidate(VhostUserIotlb said)
    {
        if (said.Size == 0) return false;
        if (!session.Is(Sin.IgnoresInvalidation)) Remove(said.Address.Value, said.Size);
        return true;
    }

    public void Clear()
    {
        _entries.Clear();
        _asked.Clear();
    }

    private bool Allows(VhostUserIotlb entry, VhostUserIotlbPermission access) =>
        (entry.Permission & access) == access || session.Is(Sin.IgnoresPermission);

    /// <summary>What is left of a translation on either side stays.</summary>
    private void Remove(ulong from, ulong size)
    {
        ulong last = from + (size - 1) < from ? ulong.MaxValue : from + (size - 1);
        foreach (VhostUserIotlb entry in _entries.ToArray())
        {
            ulong start = entry.Address.Value;
            ulong end = start + (entry.Size - 1);
            if (start > last || end < from) continue;
            _entries.Remove(entry);
            if (start < from) _entries.Add(entry with { Size = from - start });
            if (end > last) _entries.Add(new(new(last + 1), end - last, new(entry.UserAddress.Value + (last + 1 - start)), entry.Permission, entry.Type));
        }
    }

    private void Ask(ulong at, VhostUserIotlbPermission access)
    {
        if (session.Is(Sin.NeverAsksForTranslation) || !_asked.Add((at, access))) return;
        ulong asked = session.Is(Sin.AsksForWrongTranslation) ? at + (1UL << 44) : at;
        session.Channel.Send(VhostUserBackendRequest.IotlbMsg, new VhostUserIotlb(new(asked), 0, default, access, VhostUserIotlbType.Miss));
    }
}
