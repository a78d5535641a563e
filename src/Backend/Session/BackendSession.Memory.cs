using System.Globalization;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Backend;

// The memory table. It is replaced as a whole; the front-end hears of it when nobody uses the old one any more.
internal sealed partial class BackendSession
{
    /// <summary>Tables before the present one that somebody may still use: as many as there are requests under way, at most.</summary>
    private readonly List<GuestMemory> _replaced = [];

    private GuestMemory _memory = GuestMemory.Create();

    private async ValueTask<Answer> SetMemoryTableAsync(VhostUserMessage message)
    {
        const string Name = "VHOST_USER_SET_MEM_TABLE";
        if (DecodeTable(message) is not { } said)
        {
            VhostUserMemoryTable.TryReadCount(message.Payload, out uint count);
            return Answer.Refuse(
                VhostUserViolation.TooManyMemoryRegions,
                $"{Name}: {count} regions in a payload of {message.Payload.Length} bytes; "
                + $"0 to {VhostUserMemoryTable.MaxRegions} regions of 32 bytes after 8 are allowed");
        }

        if (said.Length != message.DescriptorCount)
        {
            return Answer.Refuse(
                VhostUserViolation.WrongDescriptorCount,
                $"{Name}: {said.Length} regions with {message.DescriptorCount} descriptors; one each is expected");
        }

        return await UseRegionsAsync(Name, [], said, message).ConfigureAwait(false);
    }

    private ValueTask<Answer> AddMemoryRegionAsync(VhostUserMessage message)
    {
        const string Name = "VHOST_USER_ADD_MEM_REG";
        VhostUserMemoryRegion said = Decode<VhostUserSingleRegion>(message).Region;
        return _memory.Regions.Count < _options.MaxMemorySlots
            ? UseRegionsAsync(Name, _memory.Regions, [said], message)
            : Now(Answer.Refuse(VhostUserViolation.TooManyMemoryRegions, $"{Name}: all {_options.MaxMemorySlots} memory slots are in use"));
    }

    private ValueTask<Answer> RemoveMemoryRegionAsync(VhostUserMemoryRegion said)
    {
        const string Name = "VHOST_USER_REM_MEM_REG";
        if (!_memory.TryFind(said.GuestAddress, said.Size, said.UserAddress, out _))
        {
            return Now(Answer.Refuse(
                VhostUserViolation.UnknownMemoryRegion,
                $"{Name}: no region of 0x{said.Size:x} bytes at guest {said.GuestAddress}, "
                + $"user {said.UserAddress} among {_memory.Regions.Count}"));
        }

        return UseMemoryAsync(Name, _memory.Without(said.GuestAddress, said.Size, said.UserAddress));
    }

    /// <summary>Maps what was said, in the order of the message's descriptors, and uses it together with what is kept.</summary>
    private async ValueTask<Answer> UseRegionsAsync(
        string request, IReadOnlyList<GuestMemoryRegion> kept, VhostUserMemoryRegion[] said, VhostUserMessage message)
    {
        List<GuestMemoryRegion> mapped = new();
        try
        {
            RequireRoom(_log?.Memory.Length ?? 0, [.. kept.Select(static region => region.Size), .. said.Select(static region => region.Size)]);
            for (int i = 0; i < said.Length; i++)
            {
                RequireGuestAddress(said[i]);
                mapped.Add(MapRegion(said[i], message.TakeDescriptor(i)));
            }

            GuestMemory? next = GuestMemory.TryCreate([.. kept, .. mapped], out VhostUserViolation violation, out string? explanation);
            if (next is null)
                return Answer.Refuse(violation, $"{request}: {explanation}");
            if (_postcopy is not { Listens: true } postcopy)
                return await UseMemoryAsync(request, next).ConfigureAwait(false);
            return await UseIncomingAsync(request, postcopy, next, said, mapped, isTable: message.Header.Request == (uint)VhostUserRequest.SetMemTable).ConfigureAwait(false);
        }
        catch (VhostUserProtocolException e)
        {
            return Answer.Refuse(e.Violation, $"{request}: {e.Message}");
        }
        catch (Exception e) when (e is LinuxException or OverflowException)
        {
            return Answer.Refuse(VhostUserViolation.MemoryRegionInvalid, $"{request}: {e.Message}");
        }
        finally
        {
            // The table holds its own references.
            foreach (GuestMemoryRegion region in mapped)
                region.Memory.Dispose();
        }
    }

    /// <summary>
    /// All mappings of the process share one address space, and a file without content costs a front-end nothing: without a limit one of them could take what the others need.
    /// </summary>
    private void RequireRoom(ulong log, IEnumerable<ulong> regions)
    {
        ulong mappings = _postcopy is { Listens: true } ? 2UL : 1; // memory that is under way is mapped once more, to be watched
        UInt128 sum = regions.Aggregate((UInt128)log, (sum, size) => sum + ((UInt128)size * mappings));
        if (sum > _options.MaxMemoryBytes)
        {
            throw new VhostUserProtocolException(
                VhostUserViolation.MemoryRegionInvalid, string.Create(CultureInfo.InvariantCulture, $"{sum} bytes of memory and dirty log; at most {_options.MaxMemoryBytes} are allowed (MaxMemoryBytes)"));
        }
    }

    /// <summary>With GPA_ADDRESSES the front-end says no address of its own: the field for it repeats the guest address.</summary>
    private void RequireGuestAddress(in VhostUserMemoryRegion said)
    {
        if (_state.Protocol.HasFlag(VhostUserProtocolFeatures.GpaAddresses) && said.UserAddress.Value != said.GuestAddress.Value)
        {
            throw new VhostUserProtocolException(
                VhostUserViolation.MemoryRegionInvalid, $"user address {said.UserAddress} of the region at guest {said.GuestAddress}: they must be equal with GPA_ADDRESSES");
        }
    }

    private static VhostUserMemoryRegion[]? DecodeTable(VhostUserMessage message)
    {
        if (!VhostUserMemoryTable.TryRead(message.Payload, out VhostUserMemoryTable table))
            return null;
        VhostUserMemoryRegion[] regions = new VhostUserMemoryRegion[table.Count];
        for (int i = 0; i < regions.Length; i++)
            regions[i] = table[i];
        return regions;
    }

    /// <summary>Takes ownership of <paramref name="descriptor"/>.</summary>
    private GuestMemoryRegion MapRegion(in VhostUserMemoryRegion said, SafeFileHandle descriptor) =>
        new(said.GuestAddress, SharedMemory.Map(descriptor, said.MmapOffset, said.Size, _options.RequireSealedMemory), said.UserAddress);

    /// <summary>Swaps the table under the running rings. Rings that it does not map stop; rings that waited for it start.</summary>
    private async ValueTask<Answer> UseMemoryAsync(string request, GuestMemory next)
    {
        GuestMemory old = _memory;
        _memory = next;
        _iotlb.UseMemory(next);
        try
        {
            await Task.WhenAll(Array.ConvertAll(_vrings, vring => MoveToMemoryAsync(vring, next))).ConfigureAwait(false);
        }
        finally
        {
            old.Dispose();
        }

        _replaced.RemoveAll(static table => table.Released.IsCompleted);
        _replaced.Add(old);
        try
        {
            foreach (VringState vring in _vrings)
                StartIfPossible(vring);
        }
        catch (LinuxException e)
        {
            // Too late for a refusal, which would say that the old table stands.
            return Answer.Close(VhostUserViolation.WrongState, $"{request}: the memory is in use, but a queue that waited for it cannot start: {e.Message}");
        }

        HashSet<GuestMemoryRegion> gone = [.. old.Regions.Except(next.Regions)];
        foreach (GuestMemoryRegion region in gone)
            _postcopy?.Forget(region.Memory);
        return await AwaitLastUseAsync(request, gone).ConfigureAwait(false);
    }

    /// <summary>
    /// Waits until no request uses regions that are gone. It may have been taken with an older table than the last: adding a region replaces the table
    /// without waiting for anybody.
    /// </summary>
    private async ValueTask<Answer> AwaitLastUseAsync(string request, HashSet<GuestMemoryRegion> gone)
    {
        Task[] uses = [.. _replaced.Where(table => table.Regions.Any(gone.Contains)).Select(static table => table.Released), _iotlb.UnusedOutside()];
        try
        {
            await Task.WhenAll(uses).WaitAsync(_options.DrainTimeout, _options.TimeProvider).ConfigureAwait(false);
            return Answer.Done;
        }
        catch (TimeoutException)
        {
            return Answer.Close(
                VhostUserViolation.WrongState,
                $"{request}: the device still uses the replaced memory after {_options.DrainTimeout.TotalSeconds} s, so the change cannot be acknowledged");
        }
    }

    private async Task MoveToMemoryAsync(VringState vring, GuestMemory next)
    {
        if (vring.Worker is not { } worker)
            return;
        if (UsesIommu)
        {
            await worker.MoveToNewestAsync().ConfigureAwait(false);
            return;
        }

        bool isMapped = IsMapped(vring, next);
        if (isMapped && HasArrived(vring, next))
        {
            await worker.ReplaceMemoryAsync(next).ConfigureAwait(false);
            return;
        }

        await StopWorkerAsync(vring).ConfigureAwait(false);
        if (!isMapped && _budget.TryTake())
            BackendLog.RingMemoryRemoved(_logger, _owner, vring.Index, worker.Queue.Format);
    }
}
