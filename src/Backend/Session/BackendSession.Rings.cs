using Vhost.Protocol;

namespace Vhost.Backend;

// The ring state machine: started or stopped, enabled or disabled, and whether its memory is mapped. A worker exists exactly while a ring is
// started and mapped; whether it serves the ring depends on the enable state.
internal sealed partial class BackendSession
{
    /// <summary>What keeps a stopped ring from starting; null: nothing. Missing memory does not: the ring waits for it.</summary>
    private Answer? CheckStart(VringState vring)
    {
        const string Name = "VHOST_USER_SET_VRING_KICK";
        if (vring.Size == 0)
            return Answer.Refuse(VhostUserViolation.QueueNotReady, $"{Name}: queue {vring.Index} has no size yet (VHOST_USER_SET_VRING_NUM)");
        if (vring.Address is not { } address)
            return Answer.Refuse(VhostUserViolation.QueueNotReady, $"{Name}: queue {vring.Index} has no addresses yet (VHOST_USER_SET_VRING_ADDR)");
        if (_memory.Regions.Count == 0 || IsMapped(vring, _memory))
            return null;
        return Answer.Refuse(
            VhostUserViolation.RingOutsideMemory,
            $"{Name}: queue {vring.Index} with {vring.Size} descriptors does not lie in the memory of the front-end: "
            + $"descriptor table {address.DescriptorTable}, available ring {address.AvailableRing}, used ring {address.UsedRing}");
    }

    /// <summary>Gives a started ring its worker, if memory allows.</summary>
    private void StartIfPossible(VringState vring)
    {
        if (!vring.Started || vring.Worker is not null || !IsMapped(vring, _memory))
            return;
        var queue = DeviceVirtqueue.TryActivate(_memory, SetupOf(vring), vring.Call, out _, out var explanation);
        if (queue is null)
        {
            vring.SignalError();
            if (_budget.TryTake())
                BackendLog.QueueBroken(_logger, vring.Index, VirtqueueFault.RingOutsideMemory, explanation);
            return;
        }

        vring.Worker = QueueWorker.Start(queue, vring.Kick, vring.Enabled, _workerContext);
        BackendLog.QueueStarted(_logger, vring.Index, vring.Size, vring.Base, vring.Enabled);
    }

    /// <summary>Whether the three parts of a ring with this size lie in the memory, each in one piece.</summary>
    private static bool IsMapped(VringState vring, GuestMemory memory) =>
        vring.Address is { } address
        && vring.Size != 0
        && memory.TryTranslate(address.DescriptorTable, SplitRingLayout.DescriptorTableSize(vring.Size), out _)
        && memory.TryTranslate(address.AvailableRing, SplitRingLayout.AvailableRingSize(vring.Size), out _)
        && memory.TryTranslate(address.UsedRing, SplitRingLayout.UsedRingSize(vring.Size), out _);

    private VirtqueueSetup SetupOf(VringState vring)
    {
        var address = vring.Address!.Value;
        return new VirtqueueSetup(
            vring.Index, vring.Size, address.DescriptorTable, address.AvailableRing, address.UsedRing, vring.Base, _state.Features);
    }

    private static async Task EnableAsync(VringState vring, bool enabled)
    {
        vring.Enabled = enabled;
        if (vring.Worker is { } worker)
            await worker.SetEnabledAsync(enabled).ConfigureAwait(false);
    }

    private Task EnableAllAsync() => Task.WhenAll(Array.ConvertAll(_vrings, vring => EnableAsync(vring, enabled: true)));

    /// <summary>Stops a ring in whatever state it is: it stays stopped until the next kick message.</summary>
    private async Task StopVringAsync(VringState vring)
    {
        vring.Started = false;
        await StopWorkerAsync(vring).ConfigureAwait(false);
        vring.Kick?.Dispose();
        vring.Kick = null;
    }

    private Task StopAllVringsAsync() => Task.WhenAll(Array.ConvertAll(_vrings, StopVringAsync));

    private async Task StopWorkerAsync(VringState vring)
    {
        if (vring.Worker is not { } worker)
            return;
        vring.Worker = null;
        vring.Base = await worker.StopAsync().ConfigureAwait(false);
        BackendLog.QueueStopped(_logger, vring.Index, vring.Base);
    }

    /// <summary>On the worker of the queue, once: the queue is out of service until it is stopped and started again. Others go on.</summary>
    private void QueueBroke(DeviceVirtqueue queue)
    {
        if (_state.Protocol.HasFlag(VhostUserProtocolFeatures.Status))
            Interlocked.Or(ref _status, StatusNeedsReset);
        if (_budget.TryTake())
            BackendLog.QueueBroken(_logger, queue.Index, queue.Fault, queue.FaultDetail ?? string.Empty);
        _vrings[queue.Index].SignalError();
    }
}
