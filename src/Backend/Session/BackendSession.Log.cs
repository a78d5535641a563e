using Vhost.Protocol;

namespace Vhost.Backend;

// The dirty log. It is replaced as a whole under running rings; each lets go of the old one between two batches, so what it was marking is still mapped.
internal sealed partial class BackendSession
{
    private DirtyLog? _log;
    private EventNotifier? _logChanged;

    private bool IsLogging => _log is not null && _state.Features.HasFlag(VirtioFeatures.LogAll);

    private async ValueTask<Answer> SetLogBaseAsync(VhostUserMessage message)
    {
        const string Name = "VHOST_USER_SET_LOG_BASE";
        if (!_state.Protocol.HasFlag(VhostUserProtocolFeatures.LogShmFd) || !VhostUserLog.TryRead(message.Payload, out VhostUserLog said))
        {
            return Answer.Refuse(
                VhostUserViolation.FeatureNotNegotiated,
                $"{Name}: {message.Payload.Length} bytes; a log of another process needs a descriptor, 16 bytes and protocol feature LOG_SHMFD "
                + $"({(_state.Protocol.HasFlag(VhostUserProtocolFeatures.LogShmFd) ? "" : "not ")}negotiated)");
        }

        if (message.DescriptorCount != 1)
            return Answer.Refuse(VhostUserViolation.WrongDescriptorCount, $"{Name}: {message.DescriptorCount} descriptors, 1 is expected");
        if (TooSmall(said.MmapSize) is { } needed)
        {
            return Answer.Refuse(
                VhostUserViolation.BadValue, $"{Name}: a log of {said.MmapSize} bytes, but the memory of {_memory.Regions.Count} regions needs at least {needed}");
        }

        try
        {
            RequireRoom(said.MmapSize, _memory.Regions.Select(static region => region.Size));
            await UseLogAsync(DirtyLog.Map(message.TakeDescriptor(0), said.MmapOffset, said.MmapSize, _options.RequireSealedMemory)).ConfigureAwait(false);
        }
        catch (VhostUserProtocolException e)
        {
            return Answer.Refuse(e.Violation, $"{Name}: {e.Message}");
        }
        catch (Exception e) when (e is LinuxException or OverflowException)
        {
            return Answer.Refuse(VhostUserViolation.MemoryRegionInvalid, $"{Name}: {e.Message}");
        }

        return Answer.Reply(said);
    }

    private async ValueTask<Answer> SetLogDescriptorAsync(VhostUserMessage message)
    {
        EventNotifier? old = _logChanged;
        try
        {
            _logChanged = new EventNotifier(message.TakeDescriptor(0));
        }
        catch (ArgumentException e)
        {
            return Answer.Refuse(VhostUserViolation.BadDescriptor, $"VHOST_USER_SET_LOG_FD: {e.Message}");
        }

        try
        {
            await TellLogAsync().ConfigureAwait(false);
        }
        finally
        {
            old?.Dispose();
        }

        return Answer.Done;
    }

    /// <summary>The bytes that the log should have, if it has fewer: a bit for each page up to the end of memory. Null: it has enough.</summary>
    private ulong? TooSmall(ulong size)
    {
        IReadOnlyList<GuestMemoryRegion> regions = _memory.Regions;
        ulong last = regions.Count == 0 ? 0 : regions[^1].GuestAddress.Value + (regions[^1].Size - 1);
        ulong needed = (last / DirtyLog.PageSize / 8) + 1;
        return size < needed ? needed : null;
    }

    private async Task UseLogAsync(DirtyLog next)
    {
        DirtyLog? old = _log;
        _log = next;
        try
        {
            await TellLogAsync().ConfigureAwait(false);
        }
        finally
        {
            CloseLog(old);
        }
    }

    /// <summary>LOG_ALL was acknowledged, or is no longer. A log that is finished is let go of: the next one comes with a SET_LOG_BASE of its own.</summary>
    private async Task SwitchLogAsync()
    {
        await TellLogAsync().ConfigureAwait(false);
        if (!_state.Features.HasFlag(VirtioFeatures.LogAll))
            ForgetLog();
    }

    /// <summary>Tells all running rings what they are to log. Once it completes, whatever they write from then on is marked.</summary>
    private Task TellLogAsync() => Task.WhenAll(Array.ConvertAll(_vrings, vring => vring.Worker is { } worker ? worker.SetLogAsync(LogOf(vring)) : Task.CompletedTask));

    private QueueLogSetup? LogOf(VringState vring)
    {
        if (!IsLogging)
            return null;
        VhostUserVringAddress address = vring.Address!.Value;
        return new QueueLogSetup(_log!, (address.Flags & LogFlag) != 0 ? address.LogGuestAddress : null, _logChanged, WholeChains: !_device.ReportsAllWrites);
    }

    private void CloseLog(DirtyLog? log)
    {
        if (log is null)
            return;
        if (log.Outside > 0 && _budget.TryTake())
            BackendLog.LogTooSmall(_logger, _connection.Name, log.Outside, log.PageCount);
        log.Dispose();
    }

    private void ForgetLog()
    {
        CloseLog(_log);
        _log = null;
        _logChanged?.Dispose();
        _logChanged = null;
    }
}
