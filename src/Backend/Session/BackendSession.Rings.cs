using Vhost.Protocol;

namespace Vhost.Backend;

// The ring state machine: started or stopped, enabled or disabled, and whether its memory is mapped. A worker exists exactly while a ring is
// started and mapped; whether it serves the ring depends on the enable state.
internal sealed partial class BackendSession
{
    /// <summary>What keeps a stopped ring from starting; null: nothing. Missing memory does not: the ring waits for it.</summary>
    private Answer? CheckStart(string request, VringState vring)
    {
        if (vring.Size == 0)
            return Answer.Refuse(VhostUserViolation.QueueNotReady, $"{request}: queue {vring.Index} has no size yet (VHOST_USER_SET_VRING_NUM)");
        if (vring.Address is null)
            return Answer.Refuse(VhostUserViolation.QueueNotReady, $"{request}: queue {vring.Index} has no addresses yet (VHOST_USER_SET_VRING_ADDR)");
        if (RefuseWhileTransferring(request) is { } wait)
            return wait;
        if (_inflight?.WhyNot(SetupOf(vring)) is { } why)
            return Answer.Refuse(VhostUserViolation.BadQueueSize, $"{request}: {why}");
        if (_inflight is not null ? _held.IsHeld(vring.Index) : _held.IsFull(vring.Index))
            return Answer.Refuse(VhostUserViolation.WrongState, $"{request}: queue {vring.Index}: the device has not finished with requests that it took before the queue was stopped; start it later");
        if (UsesIommu && IsChannelLost)
            return Answer.Close(VhostUserViolation.WrongState, $"{request}: queue {vring.Index}: the back-end channel was lost, on which translations are asked for (ACCESS_PLATFORM)");
        VhostUserViolation violation;
        string explanation;
        if (UsesIommu
            ? MappedRing.IsSound(SetupOf(vring), out violation, out explanation)
            : MappedRing.TryMap(_memory, SetupOf(vring), out _, out violation, out explanation) || _memory.Regions.Count == 0)
        {
            return null;
        }

        return Answer.Refuse(violation, $"{request}: {explanation}");
    }

    /// <summary>Gives a started ring its worker, if memory allows; otherwise the ring waits for memory that does.</summary>
    private void StartIfPossible(VringState vring)
    {
        if (!vring.Started || vring.Worker is not null)
            return;
        VirtqueueSetup setup = SetupOf(vring);
        if (!HasArrived(vring, _memory))
        {
            BackendLog.QueueWaits(_logger, _owner, vring.Index, setup.Format, "its memory has not arrived yet");
            return;
        }

        if (TryActivate(vring, setup, out string explanation) is not { } queue)
        {
            BackendLog.QueueWaits(_logger, _owner, vring.Index, setup.Format, explanation);
            return;
        }

        queue.Count(_counters[vring.Index], _events);
        queue.SetLog(LogOf(vring));
        queue.Arrivals = _postcopy?.ArrivalsOf(vring.Index);
        (uint start, int left, int bad, bool discarded) = (queue.Base, queue.LeftByLast, queue.LeftBad, queue.IsLeftDiscarded); // the worker's from now on
        try
        {
            vring.Worker = QueueWorker.Start(queue, vring.Kick, vring.Enabled, _workerContext);
        }
        catch
        {
            // No descriptor or thread left: the session ends, the memory must not stay mapped for it.
            queue.Deactivate();
            throw;
        }

        BackendLog.QueueStarted(_logger, _owner, vring.Index, setup.Format, vring.Size, start, vring.Enabled);
        _counters[vring.Index].Recovered(left);
        if (left > 0 && _budget.TryTake())
            BackendLog.RequestsLeft(_logger, _owner, vring.Index, setup.Format, left);
        if (discarded && _budget.TryTake())
            BackendLog.LeftDiscarded(_logger, _owner, vring.Index, setup.Format);
        if (bad > 0 && _budget.TryTake())
            BackendLog.LeftBad(_logger, _owner, vring.Index, setup.Format, bad);
    }

    private DeviceVirtqueue? TryActivate(VringState vring, in VirtqueueSetup setup, out string explanation) => UsesIommu
        ? DeviceVirtqueue.TryActivate(_ringIotlbs[vring.Index], setup, CallOf(vring), _inflight?.Open(setup), out explanation)
        : DeviceVirtqueue.TryActivate(_memory, setup, CallOf(vring), _inflight?.Open(setup), out _, out explanation);

    /// <summary>The driver has chosen the packed format for all rings.</summary>
    private bool IsPacked => _state.Features.HasFlag(VirtioFeatures.RingPacked);

    /// <summary>Where a ring goes on; one of which nothing was said starts afresh, with both wrap counters 1 if it is packed.</summary>
    private uint BaseOf(VringState vring) => vring.Base ?? (IsPacked ? VirtqueueSetup.FreshPackedBase : 0);

    /// <summary>Whether all parts of a started ring lie in the memory.</summary>
    private bool IsMapped(VringState vring, GuestMemory memory) => MappedRing.TryMap(memory, SetupOf(vring), out _, out _, out _);

    private VirtqueueSetup SetupOf(VringState vring)
    {
        VhostUserVringAddress address = vring.Address!.Value;
        return new VirtqueueSetup(
            vring.Index, vring.Size, address.DescriptorTable, address.AvailableRing, address.UsedRing, BaseOf(vring), _state.Features, DeviceReadsOnly(vring.Index),
            _owner);
    }

    /// <summary>The transmit queues of a network device (virtio 1.2, 5.1.2).</summary>
    private bool DeviceReadsOnly(int queue) => _device is IVhostUserNetDevice net && queue < 2 * net.QueuePairs && (queue & 1) == 1;

    private static async Task EnableAsync(VringState vring, bool enabled)
    {
        vring.Enabled = enabled;
        if (vring.Worker is { } worker)
            await worker.SetEnabledAsync(enabled).ConfigureAwait(false);
    }

    private Task EnableAllAsync() => Task.WhenAll(Array.ConvertAll(_vrings, vring => EnableAsync(vring, enabled: true)));

    private Task StopVringAsync(VringState vring) => StopVringAsync(vring, suspended: null);

    /// <summary>Stops a ring in whatever state it is: it stays stopped until the next kick message.</summary>
    /// <param name="vring">The ring.</param>
    /// <param name="suspended">The device, if it may leave requests in the in-flight area instead of completing them.</param>
    /// <exception cref="TimeoutException">The device does not return, or works on requests that it was to leave: another back-end must not execute them beside it.</exception>
    private async Task StopVringAsync(VringState vring, ISuspendableDevice? suspended)
    {
        vring.Started = false;
        await StopWorkerAsync(vring, suspended).ConfigureAwait(false);
        vring.ReplaceKick(null);
        ForgetTranslationsAtRest();
    }

    private Task StopAllVringsAsync() => Task.WhenAll(Array.ConvertAll(_vrings, StopVringAsync));

    private async Task StopWorkerAsync(VringState vring, ISuspendableDevice? suspended = null)
    {
        if (vring.Worker is not { } worker)
            return;
        vring.Worker = null;
        try
        {
            vring.Base = await worker.StopAsync(suspended).ConfigureAwait(false);
            vring.StoppedAtWork = !worker.StoppedAtRest;
            if (suspended is not null && !worker.StoppedAtRest)
                throw new TimeoutException($"queue {vring.Index} cannot be suspended: the device did not finish or leave its requests within {_options.DrainTimeout.TotalSeconds} s, and no other back-end may be given them meanwhile");
        }
        finally
        {
            _held.Stopped(worker.Queue);
        }

        BackendLog.QueueStopped(_logger, _owner, vring.Index, worker.Queue.Format, BaseOf(vring));
    }

    /// <summary>On the worker of the queue, once.</summary>
    private void LeftRefused(DeviceVirtqueue queue)
    {
        if (_budget.TryTake())
            BackendLog.LeftRefused(_logger, _owner, queue.Index, queue.Format, queue.LeftRefusedDetail ?? string.Empty);
    }

    /// <summary>On the worker of the queue, once: the queue is out of service until it is stopped and started again. Others go on.</summary>
    private void QueueBroke(DeviceVirtqueue queue)
    {
        if (_state.Protocol.HasFlag(VhostUserProtocolFeatures.Status))
            _status.SetNeedsReset();
        if (_budget.TryTake())
            BackendLog.QueueBroken(_logger, _owner, queue.Index, queue.Format, queue.Fault, queue.FaultDetail ?? string.Empty, queue.Failure);
        _counters[queue.Index].Broke();
        VringState vring = _vrings[queue.Index];
        if (!vring.TrySignalError())
            vring.Inband?.TellError();
        _events.TellBroken(_connection.Name, queue.Index);
    }
}
