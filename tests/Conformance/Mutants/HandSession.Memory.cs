using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Conformance.Tests.Mutants;

// Memory tables, the dirty log, the in-flight area and translations.
internal sealed partial class HandSession
{
    private const int MaxSlots = 32;
    private const ushort MaxQueueSize = 32768;

    private bool TrySetTable(VhostUserMessage message)
    {
        byte[] payload = message.Payload.ToArray();
        if (Is(Sin.AcceptsNineRegions) && payload.Length == 296) payload = [8, .. payload.AsSpan(1..264)];
        if (Is(Sin.IgnoresRegionCount) && payload.Length > 8) payload = [(byte)((payload.Length - 8) / 32), 0, 0, 0, .. payload.AsSpan(4)];
        if (!VhostUserMemoryTable.TryRead(payload, out VhostUserMemoryTable table)) return false;
        int descriptors = Math.Min(message.DescriptorCount, VhostUserMemoryTable.MaxRegions);
        if (descriptors < table.Count && !Is(Sin.AcceptsRegionWithoutDescriptor)) return false;
        if (descriptors > table.Count && !Is(Sin.AcceptsSurplusRegionDescriptor)) return false;
        List<GuestMemoryRegion> regions = [];
        for (int i = 0; i < Math.Min(table.Count, descriptors); i++)
        {
            int at = Is(Sin.SwapsDescriptors) ? descriptors - 1 - i : i;
            if (!TryMap(table[i], message.TakeDescriptor(at), regions)) return Close(regions, done: false);
        }

        if (Is(Sin.ForgetsSecondRegion) && regions.Count > 1) regions.RemoveAt(1);
        if (Is(Sin.KeepsOldTable) && Space.Table.Regions.Count > 0) return Close(regions, done: true);
        return Close(regions, TryUse(regions));
    }

    private bool TrySetTableOrDrop(VhostUserMessage message)
    {
        bool set = TrySetTable(message);
        if (!set && Is(Sin.DropsTableOnRefusal)) Space.Replace(GuestMemory.Create());
        return set;
    }

    private bool TryAddRegion(VhostUserMessage message)
    {
        if (Space.Table.Regions.Count >= MaxSlots && !Is(Sin.ExceedsSlots)) return false;
        List<GuestMemoryRegion> added = [];
        if (!TryMap(Read<VhostUserSingleRegion>(message).Region, message.TakeDescriptor(0), added)) return false;
        return Close(added, Is(Sin.ForgetsAddedRegion) || TryUse([.. Space.Table.Regions, .. added]));
    }

    private bool TryRemoveRegion(VhostUserMemoryRegion said)
    {
        GuestMemoryRegion[] left = [.. Space.Table.Regions.Where(region => !Names(said, region))];
        if (left.Length == Space.Table.Regions.Count) return Is(Sin.AcknowledgesUnknownRemoval);
        return Is(Sin.ForgetsRemoval) || TryUse(left);
    }

    private bool Names(VhostUserMemoryRegion said, GuestMemoryRegion region) => said.GuestAddress == region.GuestAddress
        && (Is(Sin.RemovesByGuestAddressAlone) || (said.Size == region.Size && said.UserAddress == region.UserAddress));

    /// <returns>Whether the file covers the region.</returns>
    private bool TryMap(VhostUserMemoryRegion said, SafeFileHandle descriptor, List<GuestMemoryRegion> into)
    {
        try
        {
            SharedMemory memory = SharedMemory.Map(descriptor, Is(Sin.IgnoresMmapOffset) ? 0 : said.MmapOffset, said.Size);
            into.Add(new GuestMemoryRegion(said.GuestAddress, memory, said.UserAddress));
            return true;
        }
        catch (Exception e) when (e is IOException or ArgumentException or OverflowException)
        {
            return Is(Sin.AcceptsRegionBeyondFile);
        }
    }

    private bool TryUse(IReadOnlyList<GuestMemoryRegion> regions)
    {
        try
        {
            Space.Replace(GuestMemory.Create([.. regions]));
        }
        catch (ArgumentException)
        {
            return Is(Sin.AcceptsOverlap);
        }

        ServeAll();
        return true;
    }

    /// <summary>The table holds its mappings itself.</summary>
    private static bool Close(List<GuestMemoryRegion> regions, bool done)
    {
        regions.ForEach(static region => region.Memory.Dispose());
        return done;
    }

    /// <summary>What was missing may be there now.</summary>
    private void ServeAll()
    {
        foreach (HandVring vring in _vrings) vring.Serve();
    }

    private bool TrySetLog(VhostUserMessage message)
    {
        bool shared = (_state.Protocol & VhostUserProtocolFeatures.LogShmFd) != 0;
        if (message.DescriptorCount == 0 && Is(Sin.AcceptsLogWithoutDescriptor)) return true;
        return shared && message.DescriptorCount == 1 && VhostUserLog.TryRead(message.Payload, out VhostUserLog said)
            && Log.TrySetBase(said, message.TakeDescriptor(0));
    }

    private bool TrySetLogChanged(VhostUserMessage message)
    {
        if (!TryTakeNotifier(message, out EventNotifier? changed)) return false;
        Log.SetChanged(changed!);
        return true;
    }

    private HandAnswer GetInflight(VhostUserInflight asked)
    {
        if (!IsUsable(asked)) return HandAnswer.Refused;
        ulong size = HandInflight.SizeFor(this, asked);
        if (Is(Sin.HasNoPackedArea) && Has(VirtioFeatures.RingPacked)) return HandAnswer.Reply(asked with { MmapSize = 0, MmapOffset = 0 });
        if (Is(Sin.PackedAreaTooSmall) && Has(VirtioFeatures.RingPacked)) size /= 2;
        SharedMemory memory = SharedMemory.CreateSealed("hand-inflight", size);
        if (Is(Sin.AreaNotCleared)) RandomAccess.Write(memory.Descriptor, Enumerable.Repeat((byte)0xa5, (int)size).ToArray(), 0);
        return HandAnswer.Reply(asked with { MmapSize = Is(Sin.AreaSizeWrong) ? size / 2 : size, MmapOffset = 0 }, memory);
    }

    private bool TrySetInflight(VhostUserMessage message)
    {
        VhostUserInflight said = Read<VhostUserInflight>(message);
        if (!IsUsable(said) || _vrings.Any(static v => v.IsStarted)) return false;
        if (said.MmapSize < HandInflight.SizeFor(this, said)) return Is(Sin.AcceptsSmallArea);
        if (HandInflight.TryMap(this, said, message.TakeDescriptor(0)) is not { } area) return false;
        Inflight?.Dispose();
        Inflight = area;
        return true;
    }

    private bool IsUsable(VhostUserInflight area) => area.QueueSize is > 0 and <= MaxQueueSize
        && area.QueueCount is > 0 and var count && count <= HandBackend.QueueCount;

    private bool TryTranslation(VhostUserIotlb said)
    {
        bool done = said.Type switch
        {
            VhostUserIotlbType.Update => Iotlb.TryUpdate(said),
            VhostUserIotlbType.Invalidate => Iotlb.TryInvalidate(said),
            _ => false,
        };
        if (done && said.Type == VhostUserIotlbType.Update && !Is(Sin.TranslationWakesNothing)) ServeAll();
        return done;
    }
}
