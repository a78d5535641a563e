using System.Runtime.InteropServices;
using Vhost.Protocol;

namespace Vhost.Frontend;

public sealed partial class VhostUserFrontend
{
    private readonly PublishedMemory _published = new();
    private readonly Lock _memoryGate = new();
    private GuestMemory _memory = GuestMemory.Create();
    private bool _ownsMemory;
    private bool _memoryReleased;

    /// <summary>The memory table of the session: what <see cref="SetMemoryAsync"/> was given, or the session's own after regions were added or
    /// removed.</summary>
    public GuestMemory Memory => Volatile.Read(ref _memory);

    private bool GuestAddressesOnly => Has(VhostUserProtocolFeatures.GpaAddresses);

    /// <summary>
    /// Gives the back-end its memory: SET_MEM_TABLE, or with CONFIGURE_MEM_SLOTS the difference to the table before, removals first
    /// (SET_MEM_TABLE is then never sent). Allowed while rings run, as long as they stay where they are. When it completes, the back-end no
    /// longer uses what the new table lacks.
    /// </summary>
    /// <param name="memory">The whole table. Borrowed: it must stay undisposed until it is replaced or the session ends.</param>
    /// <param name="cancellationToken">Cancels freely between messages; see the remarks of the class.</param>
    /// <returns>Completes when the table is in place.</returns>
    /// <exception cref="VhostUserException">More regions than <see cref="MaxMemorySlots"/>; or the back-end refused or is lost.</exception>
    /// <exception cref="InvalidOperationException">A running ring would lose its memory, be it for a moment: with CONFIGURE_MEM_SLOTS other memory at the same addresses is no way either. With ACCESS_PLATFORM nobody here
    /// knows where rings lie, and none is looked for.</exception>
    public async ValueTask SetMemoryAsync(GuestMemory memory, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(memory);
        using OperationGate.Pass pass = await _gate.EnterAsync(cancellationToken).ConfigureAwait(false);
        await PublishAsync(memory, cancellationToken).ConfigureAwait(false);
        Adopt(memory, owned: false);
    }

    /// <summary>Adds one region: ADD_MEM_REG, or without CONFIGURE_MEM_SLOTS the whole table again. Allowed while rings run.</summary>
    /// <param name="region">The region; must not overlap another, by guest address or by user address.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>The table with the region in it, for the driver's own use; it belongs to the session.</returns>
    /// <exception cref="VhostUserException">More regions than <see cref="MaxMemorySlots"/>; or the back-end refused or is lost.</exception>
    /// <exception cref="ArgumentException">The region overlaps another one.</exception>
    /// <exception cref="InvalidOperationException">The session is in a postcopy migration that does not have the region; it can be added after <see cref="PostcopyMigration.EndAsync"/>.</exception>
    public async ValueTask<GuestMemory> AddMemoryAsync(GuestMemoryRegion region, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(region);
        using OperationGate.Pass pass = await _gate.EnterAsync(cancellationToken).ConfigureAwait(false);
        return await PublishOwnAsync(Memory.With(region), cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Removes one region: REM_MEM_REG, or without CONFIGURE_MEM_SLOTS the whole table again. Allowed while rings run.
    /// When it completes, the back-end no longer uses the region.</summary>
    /// <param name="region">A region of the table.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>The table without the region; it belongs to the session.</returns>
    /// <exception cref="ArgumentException">There is no such region.</exception>
    /// <exception cref="InvalidOperationException">A running ring lies in it. With ACCESS_PLATFORM nobody here knows where rings lie, and the request is sent.</exception>
    /// <exception cref="VhostUserException">The back-end refused or is lost. One whose device goes on with the region does not answer in time, or ends the session: <see cref="VhostUserTimeoutException"/> after
    /// <see cref="VhostUserFrontendOptions.ReplyTimeout"/>, or <see cref="VhostUserDisconnectedException"/>.</exception>
    public async ValueTask<GuestMemory> RemoveMemoryAsync(GuestMemoryRegion region, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(region);
        using OperationGate.Pass pass = await _gate.EnterAsync(cancellationToken).ConfigureAwait(false);
        return await PublishOwnAsync(Memory.Without(region.GuestAddress, region.Size, region.UserAddress), cancellationToken).ConfigureAwait(false);
    }

    private async ValueTask<GuestMemory> PublishOwnAsync(GuestMemory memory, CancellationToken cancellationToken)
    {
        try
        {
            await PublishAsync(memory, cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            memory.Dispose();
            throw;
        }

        Adopt(memory, owned: true);
        return memory;
    }

    private void Adopt(GuestMemory memory, bool owned)
    {
        GuestMemory? gone = null;
        lock (_memoryGate)
        {
            if (_memoryReleased)
            {
                gone = owned ? memory : null; // the session was disposed meanwhile
            }
            else
            {
                gone = _ownsMemory && !ReferenceEquals(_memory, memory) ? _memory : null;
                Volatile.Write(ref _memory, memory);
                _ownsMemory = owned;
            }
        }

        gone?.Dispose();
    }

    /// <summary>Lets go of a table the session made, now or when it comes; leases on it that others hold keep its mappings.</summary>
    private void ReleaseMemory()
    {
        lock (_memoryGate)
            _memoryReleased = true;
        if (_ownsMemory)
            Memory.Dispose();
    }

    private async ValueTask PublishAsync(GuestMemory memory, CancellationToken cancellationToken)
    {
        if (memory.Regions.Count > MaxMemorySlots)
        {
            throw new VhostUserException(
                $"The memory table has {memory.Regions.Count} regions; this back-end takes at most {MaxMemorySlots} " +
                (Has(VhostUserProtocolFeatures.ConfigureMemSlots)
                    ? "(its answer to VHOST_USER_GET_MAX_MEM_SLOTS)."
                    : "(CONFIGURE_MEM_SLOTS is not negotiated)."));
        }

        // The lease keeps the descriptors open while they are sent.
        using GuestMemoryLease lease = memory.Acquire();
        PublishedMemory next = new(memory, GuestAddressesOnly);
        RequireRingsToStay(next);
        _postcopy?.Require(next);
        await GrowLogAsync(memory, cancellationToken).ConfigureAwait(false);
        if (Has(VhostUserProtocolFeatures.ConfigureMemSlots))
            await ChangeSlotsAsync(next, cancellationToken).ConfigureAwait(false);
        else
            await SendTableAsync(next, cancellationToken).ConfigureAwait(false);
        await ConfirmAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>
    /// A running ring keeps the user addresses it was given, so the new table must still answer to them. Slot by slot the region must be the same too: other memory in its place would come only after it has gone.
    /// </summary>
    private void RequireRingsToStay(PublishedMemory next)
    {
        PublishedMemory stays = Has(VhostUserProtocolFeatures.ConfigureMemSlots) ? next.Common(_published) : next;
        foreach (FrontendVring ring in RunningRings())
        {
            if (!IsAt(ring, stays))
            {
                throw new InvalidOperationException(
                    $"Ring {ring.Index} runs in memory that the new table does not hold at the same addresses, or puts other memory in the place of; stop it first.");
            }
        }
    }

    private bool IsAt(FrontendVring ring, PublishedMemory memory)
    {
        if ((AcknowledgedFeatures & VirtioFeatures.AccessPlatform) != 0)
            return true;
        RingLayout layout = RingLayout.Of(ring.Settings, AcknowledgedFeatures);
        VringSettings settings = ring.Settings;
        return memory.IsAt(settings.DescriptorTable, layout.DescriptorBytes, ring.Address.DescriptorTable)
            && memory.IsAt(settings.AvailableRing, layout.AvailableBytes, ring.Address.AvailableRing)
            && memory.IsAt(settings.UsedRing, layout.UsedBytes, ring.Address.UsedRing);
    }

    private async ValueTask SendTableAsync(PublishedMemory next, CancellationToken cancellationToken)
    {
        SafeHandle[] descriptors = new SafeHandle[next.Count];
        for (int i = 0; i < descriptors.Length; i++)
            descriptors[i] = next.Regions[i].Memory.Descriptor;
        VhostUserMemoryRegion[] regions = [.. next.Regions.Select(region => region.Wire)];
        if (_postcopy is { } postcopy)
            await SendIncomingTableAsync(postcopy, next, regions, descriptors, cancellationToken).ConfigureAwait(false);
        else
            await Requests.SetMemTableAsync(regions, descriptors, cancellationToken).ConfigureAwait(false);

        foreach (PublishedRegion old in _published.Regions.ToArray())
            _published.Remove(old);
        foreach (PublishedRegion region in next.Regions)
            _published.Add(region);
        FrontendLog.MemoryTableSet(_log, next.Count);
    }

    /// <summary>Removals first, so that a full back-end has room. What is published is updated message by message: a refusal leaves it
    /// true.</summary>
    private async ValueTask ChangeSlotsAsync(PublishedMemory next, CancellationToken cancellationToken)
    {
        PublishedRegion[] gone = [.. _published.Regions.Where(region => !next.Contains(region))];
        PublishedRegion[] added = [.. next.Regions.Where(region => !_published.Contains(region))];
        foreach (PublishedRegion region in gone)
        {
            await Requests.RemMemRegAsync(new VhostUserSingleRegion(region.Wire), cancellationToken).ConfigureAwait(false);
            _published.Remove(region);
            _postcopy?.Remove(region);
        }

        foreach (PublishedRegion region in added)
        {
            if (_postcopy is { } postcopy)
                await AddIncomingRegionAsync(postcopy, region, cancellationToken).ConfigureAwait(false);
            else
                await Requests.AddMemRegAsync(new VhostUserSingleRegion(region.Wire), region.Memory.Descriptor, cancellationToken).ConfigureAwait(false);
            _published.Add(region);
        }

        if (_postcopy is not null && added.Length > 0)
            await ConfirmAddressesAsync(VhostUserRequest.AddMemReg, cancellationToken).ConfigureAwait(false);
        FrontendLog.MemorySlotsChanged(_log, gone.Length, added.Length, _published.Count);
    }
}
