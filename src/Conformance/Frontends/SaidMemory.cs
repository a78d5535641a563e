using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>The memory that a front-end has shared, followed from message to message.</summary>
internal sealed class SaidMemory(FrontendPeer peer)
{
    private readonly List<VhostUserMemoryRegion> _regions = [];

    /// <summary>How many regions there were at once.</summary>
    public int Most { get; private set; }

    /// <summary>Takes what a message says of memory, and fails the case where it cannot be.</summary>
    public void Judge(SaidMessage message)
    {
        switch (message.Request)
        {
            case VhostUserRequest.SetMemTable:
                _regions.Clear();
                Expect.That(VhostUserMemoryTable.TryRead(message.Payload, out VhostUserMemoryTable table), "a memory table", $"{message.Payload.Length} bytes that are none");
                Expect.Equal(table.Count, message.Descriptors.Length, "descriptors with the memory table");
                for (int i = 0; i < table.Count; i++)
                    Add(table[i], message.Descriptors[i]);
                break;
            case VhostUserRequest.AddMemReg:
                Expect.Equal(1, message.Descriptors.Length, "descriptors with ADD_MEM_REG");
                Add(Single(message), message.Descriptors[0]);
                break;
            case VhostUserRequest.RemMemReg:
                VhostUserMemoryRegion gone = Single(message);
                int removed = _regions.RemoveAll(region => region.GuestAddress == gone.GuestAddress && region.Size == gone.Size && region.UserAddress == gone.UserAddress);
                Expect.That(removed == 1, "the removal of a region that is shared", $"one of {gone.Size} bytes at 0x{gone.GuestAddress.Value:x}");
                break;
            default:
                break;
        }
    }

    /// <summary>Whether a range of user addresses lies in one region that is shared now.</summary>
    public bool Contains(UserAddress at, ulong length) => _regions.Any(region =>
        at.Value >= region.UserAddress.Value && length <= region.Size && at.Value - region.UserAddress.Value <= region.Size - length);

    private static VhostUserMemoryRegion Single(SaidMessage message) => VhostUserSingleRegion.TryRead(message.Payload, out VhostUserSingleRegion single)
        ? single.Region
        : throw Expect.Failed($"{message.Name} of {VhostUserSingleRegion.Size} bytes", $"{message.Payload.Length} bytes");

    private void Add(VhostUserMemoryRegion region, SaidDescriptor file)
    {
        bool inside = region.Size > 0 && region.Size <= file.Size && region.MmapOffset <= file.Size - region.Size;
        Expect.That(inside, "a region inside its file", $"{region.Size} bytes at {region.MmapOffset} of {file.Size}");
        foreach (VhostUserMemoryRegion other in _regions)
        {
            Expect.That(Apart(region.GuestAddress.Value, region.Size, other.GuestAddress.Value, other.Size), "regions that do not overlap in guest addresses", Both(region, other));
            Expect.That(Apart(region.UserAddress.Value, region.Size, other.UserAddress.Value, other.Size), "regions that do not overlap in user addresses", Both(region, other));
        }

        _regions.Add(region);
        Most = Math.Max(Most, _regions.Count);
        peer.Note($"{_regions.Count} regions are shared");
    }

    private static bool Apart(ulong one, ulong size, ulong other, ulong otherSize) => one < other ? size <= other - one : otherSize <= one - other;

    private static string Both(VhostUserMemoryRegion one, VhostUserMemoryRegion other) =>
        $"{one.Size} bytes at 0x{one.GuestAddress.Value:x} (user 0x{one.UserAddress.Value:x}) and {other.Size} bytes at 0x{other.GuestAddress.Value:x} (user 0x{other.UserAddress.Value:x})";
}
