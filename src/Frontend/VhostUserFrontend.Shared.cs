using System.Globalization;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Frontend;

// What a device shares besides its rings: objects, memory regions, and pages that take notifications.
public sealed partial class VhostUserFrontend
{
    private readonly HostNotifiers? _hostNotifiers;
    private SharedMemoryRegions? _regions;

    /// <summary>
    /// GET_SHMEM_CONFIG: reserves addresses for the shared memory regions of the device. From now on the back-end can map files into them (SHMEM_MAP), and take them back: before
    /// that it is refused, so call it before rings start. Asked once for each session; each has ranges of its own, so that the guest's are to be moved to new ones when the next session replaces a lost one.
    /// </summary>
    /// <param name="largest">Most bytes that all regions together may have: addresses cost no memory, but a hypervisor has a limit.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>The regions, the caller's to dispose once no guest uses them, which may be after the session.</returns>
    /// <exception cref="VhostUserFeatureException">SHMEM is not negotiated. Ask for it, and for BACKEND_SEND_FD, with <see cref="VhostUserFrontendOptions.WantedProtocolFeatures"/>.</exception>
    /// <exception cref="VhostUserProtocolException">A size is no multiple of the page size, or they are more than <paramref name="largest"/>.</exception>
    /// <exception cref="InvalidOperationException">They were reserved before.</exception>
    public async ValueTask<SharedMemoryRegions> ReserveSharedMemoryAsync(ulong largest = 64UL << 30, CancellationToken cancellationToken = default)
    {
        using OperationGate.Pass pass = await _gate.EnterAsync(cancellationToken).ConfigureAwait(false);
        Use(VhostUserProtocolFeatures.Shmem, VhostUserRequest.GetShmemConfig);
        if (_regions is not null)
            throw new InvalidOperationException("The shared memory regions of this session were reserved before.");
        ulong[] sizes = await Requests.GetShmemConfigAsync(cancellationToken).ConfigureAwait(false);
        RequireSizes(sizes, largest);
        SharedMemoryRegions regions = new(sizes, _options.RequireMemoryFiles);
        Volatile.Write(ref _regions, regions);
        if (_completion.Task.IsCompleted)
            regions.Close();
        return regions;
    }

    /// <summary>Null: nobody here answers. Takes ownership of the descriptor only with another result.</summary>
    internal bool? TryMapSharedMemory(in VhostUserShmemMap said, SafeFileHandle descriptor) =>
        Volatile.Read(ref _regions) is { } regions ? IsDone(VhostUserBackendRequest.ShmemMap, regions.TryMap(said, descriptor)) : null;

    /// <summary>Null: nobody here answers.</summary>
    internal bool? TryUnmapSharedMemory(in VhostUserShmemMap said) =>
        Volatile.Read(ref _regions) is { } regions ? IsDone(VhostUserBackendRequest.ShmemUnmap, regions.TryUnmap(said)) : null;

    internal bool TryAddSharedObject(SharedObjectRegistry registry, Guid id)
    {
        MarkUsed(VhostUserProtocolFeatures.SharedObject);
        bool added = registry.TryAdd(id, this, out string explanation);
        if (added && _completion.Task.IsCompleted)
            registry.Forget(this);
        return IsDone(VhostUserBackendRequest.SharedObjectAdd, added ? null : explanation);
    }

    internal bool TryRemoveSharedObject(SharedObjectRegistry registry, Guid id) =>
        IsDone(VhostUserBackendRequest.SharedObjectRemove, registry.TryRemove(id, this) ? null : $"there is no object {id} of this back-end");

    /// <summary>Whether pages are dealt with here, and not by the user's handler.</summary>
    internal bool UsesHostNotifiers => _hostNotifiers is not null;

    /// <summary>Takes ownership of the descriptor.</summary>
    internal async ValueTask<bool> UseHostNotifierAsync(VhostUserVringArea area, SafeFileHandle? descriptor, CancellationToken cancellationToken)
    {
        const VhostUserBackendRequest Request = VhostUserBackendRequest.VringHostNotifierMsg;
        HostNotifiers notifiers = _hostNotifiers!;
        using (descriptor)
        {
            int queue = (int)area.Ring.Index;
            if (area.Ring.HasReservedBits || area.Ring.NoDescriptor != (descriptor is null))
                return IsDone(Request, string.Create(CultureInfo.InvariantCulture, $"word 0x{area.Ring.Raw:x} with {(descriptor is null ? "no" : "a")} descriptor"));
            if (descriptor is null)
            {
                await notifiers.RemoveAsync(queue).ConfigureAwait(false);
                return true;
            }

            if (Volatile.Read(ref _vrings[queue]) is not { } ring)
                return IsDone(Request, string.Create(CultureInfo.InvariantCulture, $"ring {queue} does not run"));
            if (HostNotifierPage.TryMap(area, descriptor, out string explanation) is not { } page)
                return IsDone(Request, $"ring {queue}: {explanation}");
            MarkUsed(VhostUserProtocolFeatures.HostNotifier);
            string? problem = await notifiers.TryUseAsync(page, () => ReferenceEquals(Volatile.Read(ref _vrings[queue]), ring)).WaitAsync(cancellationToken).ConfigureAwait(false);
            return IsDone(Request, problem is null ? null : string.Create(CultureInfo.InvariantCulture, $"ring {queue}: {problem}"));
        }
    }

    private ValueTask RemoveHostNotifierAsync(int queue) => _hostNotifiers?.RemoveAsync(queue) ?? ValueTask.CompletedTask;

    /// <summary>The device was reset: it has neither mappings nor pages.</summary>
    private async ValueTask ForgetSharedAsync()
    {
        if (_hostNotifiers is { } notifiers)
            await notifiers.RemoveAllAsync().ConfigureAwait(false);
        if (Volatile.Read(ref _regions)?.UnmapAll() is { } problem)
            FrontendLog.SharedMemoryStays(_log, problem);
    }

    /// <summary>The session has ended: what belongs to its back-end goes with it, and what its back-end asked for last comes too late.</summary>
    private async ValueTask EndSharedAsync()
    {
        if (_hostNotifiers is { } notifiers)
            await notifiers.CloseAsync().ConfigureAwait(false);
        if (Volatile.Read(ref _regions)?.Close() is { } problem)
            FrontendLog.SharedMemoryStays(_log, problem);
        _options.SharedObjects?.Forget(this);
    }

    private bool IsDone(VhostUserBackendRequest request, string? problem)
    {
        if (problem is null)
            return true;
        long refusals = Interlocked.Increment(ref _refusals);
        if (long.IsPow2(refusals))
            FrontendLog.BackendRequestRefused(_log, refusals, $"{MessageContracts.NameOf(VhostUserChannel.Backend, (uint)request)}: {problem}");
        return false;
    }

    private static void RequireSizes(ulong[] sizes, ulong largest)
    {
        ulong page = (ulong)Environment.SystemPageSize;
        ulong left = largest;
        for (int id = 0; id < sizes.Length; id++)
        {
            if (sizes[id] % page != 0 || sizes[id] > left)
            {
                throw new VhostUserProtocolException(
                    VhostUserViolation.BadValue,
                    string.Create(
                        CultureInfo.InvariantCulture,
                        $"VHOST_USER_GET_SHMEM_CONFIG: region {id} of 0x{sizes[id]:x} bytes; a multiple of {page} is expected, and 0x{largest:x} bytes for all regions at most"))
                {
                    RequestCode = (uint)VhostUserRequest.GetShmemConfig,
                };
            }

            left -= sizes[id];
        }
    }
}
