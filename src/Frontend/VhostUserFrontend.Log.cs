using Vhost.Protocol;

namespace Vhost.Frontend;

public sealed partial class VhostUserFrontend
{
    private readonly Lock _logGate = new();
    private DirtyLog? _dirtyLog;
    private volatile LogState _logState;

    private enum LogState
    {
        Off,
        On,

        /// <summary>Being switched off, or that was refused half-way: what is marked is not all.</summary>
        Ending,
    }

    /// <summary>
    /// Whether the back-end marks what it writes: between <see cref="StartLoggingAsync"/> and <see cref="StopLoggingAsync"/>. True as well after a stop that was refused half-way, which can be tried again; the
    /// log does not have everything then.
    /// </summary>
    public bool IsLogging => _logState != LogState.Off;

    /// <summary>
    /// Makes the back-end mark the pages of guest memory that it writes, buffers and used rings, for a live migration (vhost-user specification, "Migration"): SET_LOG_BASE, SET_FEATURES with LOG_ALL,
    /// and the addresses of each running ring again with the log flag; rings that start later are logged too, and features that are acknowledged later keep LOG_ALL. Allowed while rings run. When it completes, every write from then on can be found with
    /// <see cref="TakeDirty(GuestAddress, ulong, Span{ulong})"/>: copy all of memory only after that.
    /// </summary>
    /// <remarks>What the caller's own process writes, a driver's half of the rings for example, is not in the log. Memory that is added meanwhile gets a larger log by itself.</remarks>
    /// <param name="cancellationToken">Cancels until the back-end has the log; what follows is not cancelled.</param>
    /// <returns>Completes when the back-end logs.</returns>
    /// <exception cref="VhostUserFeatureException">LOG_SHMFD is not negotiated, or LOG_ALL not offered. Ask for the former with <see cref="VhostUserFrontendOptions.WantedProtocolFeatures"/>.</exception>
    /// <exception cref="VhostUserException">The back-end refused or is lost; what was changed until then is taken back as far as it goes.</exception>
    public async ValueTask StartLoggingAsync(CancellationToken cancellationToken = default)
    {
        Use(VhostUserProtocolFeatures.LogShmFd, VhostUserRequest.SetLogBase);
        if ((OfferedFeatures & VirtioFeatures.LogAll) == 0)
        {
            throw new VhostUserFeatureException(
                $"VHOST_USER_SET_LOG_BASE: LOG_ALL is not offered; offered are {Describe(OfferedFeatures)}.", VirtioFeatures.LogAll, VhostUserProtocolFeatures.None);
        }

        using OperationGate.Pass pass = await _gate.EnterAsync(cancellationToken).ConfigureAwait(false);
        if (_logState == LogState.On)
            return;
        await SendLogAsync(LastAddress(Memory.Regions), cancellationToken).ConfigureAwait(false);
        _logState = LogState.On;
        try
        {
            // From here on all of it or nothing: half of it would look as if the back-end wrote nothing.
            await SendFeaturesAsync(AcknowledgedFeatures | VirtioFeatures.LogAll, CancellationToken.None).ConfigureAwait(false);
            await SendLogFlagsAsync(CancellationToken.None).ConfigureAwait(false);
            await ConfirmAsync(CancellationToken.None).ConfigureAwait(false);
        }
        catch (Exception) when (!_channel.Completion.IsCompleted)
        {
            await EndLoggingAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Ends what <see cref="StartLoggingAsync"/> began. What was marked until then can still be taken, until logging is started again.</summary>
    /// <param name="cancellationToken">Cancels the wait for another operation of the session; what follows is not cancelled.</param>
    /// <returns>Completes when the back-end does not log any more.</returns>
    /// <exception cref="VhostUserException">The back-end refused, and can be told again; or it is lost.</exception>
    public async ValueTask StopLoggingAsync(CancellationToken cancellationToken = default)
    {
        using OperationGate.Pass pass = await _gate.EnterAsync(cancellationToken).ConfigureAwait(false);
        if (!IsLogging)
            return;
        await EndLoggingAsync().ConfigureAwait(false);
        await ConfirmAsync(CancellationToken.None).ConfigureAwait(false);
    }

    /// <summary>Takes and clears the marks of a range of guest memory. Any thread, while the back-end goes on; what it writes later is found by the next call.</summary>
    /// <param name="from">First byte of the range, for example that of a region.</param>
    /// <param name="length">Its bytes.</param>
    /// <param name="pages">Cleared, and then a bit is set for each page of 4096 bytes that was written since the last call; bit 0 of the first word is the page in which the range begins.</param>
    /// <returns>How many pages.</returns>
    /// <exception cref="ArgumentException">There is not a bit for each page.</exception>
    /// <exception cref="InvalidOperationException">Logging was never started.</exception>
    public long TakeDirty(GuestAddress from, ulong length, Span<ulong> pages)
    {
        lock (_logGate)
        {
            DirtyLog log = _dirtyLog ?? throw new InvalidOperationException("Nothing is logged: StartLoggingAsync comes first.");
            return log.Take(from, length, pages);
        }
    }

    /// <summary>
    /// The same for a region of memory, as runs of bytes that can be copied: neighbouring pages are one run. Nothing is allocated. Copy what it names before the next call with the same
    /// <paramref name="pages"/>.
    /// </summary>
    /// <param name="region">The region.</param>
    /// <param name="pages">Room for a bit for each page, <see cref="DirtyRuns.WordsFor"/> of the region's size; of the runs as long as they are walked.</param>
    /// <returns>The runs, by offset in the region.</returns>
    /// <exception cref="ArgumentException">There is not a bit for each page.</exception>
    /// <exception cref="InvalidOperationException">Logging was never started.</exception>
    public DirtyRuns TakeDirty(GuestMemoryRegion region, Span<ulong> pages)
    {
        ArgumentNullException.ThrowIfNull(region);
        TakeDirty(region.GuestAddress, region.Size, pages);
        return new DirtyRuns(pages, region.GuestAddress, region.Size);
    }

    private static GuestAddress LastAddress(IReadOnlyList<GuestMemoryRegion> regions) =>
        regions.Count == 0 ? default : new GuestAddress(regions[^1].GuestAddress.Value + (regions[^1].Size - 1));

    /// <summary>Gives the back-end a log that reaches so far. What the one before had is in it.</summary>
    private async ValueTask SendLogAsync(GuestAddress last, CancellationToken cancellationToken)
    {
        DirtyLog next = DirtyLog.Create(last);
        try
        {
            VhostUserLog place = new(next.Memory.Length, next.Memory.DescriptorOffset);
            await Requests.SetLogBaseAsync(place, next.Memory.Descriptor, cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            next.Dispose();
            throw;
        }

        lock (_logGate)
        {
            if (_dirtyLog is { } old && IsLogging)
                next.Take(old);
            _dirtyLog?.Dispose();
            _dirtyLog = next;
        }
    }

    /// <summary>Before memory is added: a log that reaches to its end.</summary>
    private async ValueTask GrowLogAsync(GuestMemory memory, CancellationToken cancellationToken)
    {
        if (!IsLogging || memory.Regions.Count == 0)
            return;
        GuestAddress last = LastAddress(memory.Regions);
        if (_dirtyLog is not { } log || last.Value / DirtyLog.PageSize >= log.PageCount)
            await SendLogAsync(last, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Says of each running ring again where it is, and whether writes to it are logged.</summary>
    private async ValueTask SendLogFlagsAsync(CancellationToken cancellationToken)
    {
        foreach (FrontendVring ring in RunningRings().ToArray())
            await Requests.SetVringAddrAsync(WithLog(ring), cancellationToken).ConfigureAwait(false);
    }

    /// <summary>The addresses of a ring; while the back-end logs, with the place of its used ring in the log.</summary>
    private VhostUserVringAddress WithLog(FrontendVring ring) => _logState == LogState.On
        ? ring.Address with { Flags = VhostUserVringAddress.LogUsedRing, LogGuestAddress = ring.Settings.UsedRing.Value }
        : ring.Address;

    private async ValueTask EndLoggingAsync()
    {
        // The flags go first: a flag without LOG_ALL is refused.
        _logState = LogState.Ending;
        await SendLogFlagsAsync(CancellationToken.None).ConfigureAwait(false);
        await SendFeaturesAsync(AcknowledgedFeatures & ~VirtioFeatures.LogAll, CancellationToken.None).ConfigureAwait(false);
        _logState = LogState.Off;
    }

    private void ReleaseLog()
    {
        lock (_logGate)
        {
            _dirtyLog?.Dispose();
            _dirtyLog = null;
        }
    }
}
