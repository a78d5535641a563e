using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Backend;

// What the device itself knows, on its way to or from another back-end. It travels while no ring is started; messages are answered meanwhile, but for those that would change the device.
internal sealed partial class BackendSession
{
    private const byte TransferFailed = 1;

    private DeviceStateTransfer? _transfer;

    private bool IsTransferring => _transfer is { IsUnderWay: true } || _heldTransfer.IsUnderWay;

    private async ValueTask<Answer> BeginDeviceStateAsync(VhostUserMessage message)
    {
        const string Name = "VHOST_USER_SET_DEVICE_STATE_FD";
        VhostUserDeviceState said = Decode<VhostUserDeviceState>(message);
        SafeFileHandle descriptor = message.TakeDescriptor(0);
        string? problem = WhyNotTransfer(said);
        if (problem is null)
        {
            problem = await EndTransferAsync().ConfigureAwait(false) ? TryBeginTransfer(said.Direction, descriptor) : "the device has not returned from the transfer before";
        }

        if (problem is null)
            return Answer.Reply(VhostUserDeviceStateReply.Create(0, noDescriptor: true));
        descriptor.Dispose();
        LogRefused($"{Name}: {problem}");
        return Answer.Reply(VhostUserDeviceStateReply.Create(TransferFailed, noDescriptor: true));
    }

    /// <summary>Answers when the outcome is known; waiting for a peer is bounded by <see cref="VhostUserBackendOptions.DeviceStateTimeout"/>.</summary>
    private async ValueTask<Answer> CheckDeviceStateAsync()
    {
        string? problem = _transfer is { } transfer ? await OutcomeAsync(transfer).ConfigureAwait(false) : "no transfer was begun";
        if (problem is null)
            return Answer.Reply(new VhostUserU64(0));
        LogRefused($"VHOST_USER_CHECK_DEVICE_STATE: {problem}");
        return Answer.Reply(new VhostUserU64(TransferFailed));
    }

    /// <summary>Waits for it as long as the front-end does: one that has gone leaves its end of the pipe to others, who could keep it for ever. What it has said meanwhile waits for its turn.</summary>
    /// <exception cref="VhostUserDisconnectedException">The front-end has gone.</exception>
    private async Task<string?> OutcomeAsync(DeviceStateTransfer transfer)
    {
        using CancellationTokenSource enough = CancellationTokenSource.CreateLinkedTokenSource(_stopping);
        Task left = _connection.WaitPeerLeftAsync(enough.Token).AsTask();
        if (await Task.WhenAny(transfer.Outcome, left).ConfigureAwait(false) == left)
        {
            await left.ConfigureAwait(false);
            throw new VhostUserDisconnectedException($"{_connection.Name}: the front-end has gone while the state of the device was transferred");
        }

        await enough.CancelAsync().ConfigureAwait(false);
        await left.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        return await transfer.Outcome.ConfigureAwait(false);
    }

    private string? WhyNotTransfer(in VhostUserDeviceState said)
    {
        if (said.Direction is not (VhostUserTransferDirection.Save or VhostUserTransferDirection.Load))
            return $"direction {(uint)said.Direction} is neither 0 (save) nor 1 (load)";
        if (said.Phase != VhostUserTransferPhase.Stopped)
            return $"phase {(uint)said.Phase}; 0 (all rings are stopped) is the only one";
        return Array.Find(_vrings, static vring => vring.Started) is { } started
            ? $"queue {started.Index} is started; the state of a device is transferred while none is"
            : null;
    }

    private string? TryBeginTransfer(VhostUserTransferDirection direction, SafeFileHandle descriptor)
    {
        DescriptorStreamLimits limits = new(
            _options.MaxDeviceStateSize, nameof(_options.MaxDeviceStateSize), _options.DeviceStateTimeout, nameof(_options.DeviceStateTimeout), _options.TimeProvider);
        try
        {
            DescriptorStream stream = DescriptorStream.Open(descriptor, direction == VhostUserTransferDirection.Save, limits);
            _transfer = DeviceStateTransfer.Begin((IMigratableDevice)_device, stream, _logger);
            return null;
        }
        catch (Exception e) when (e is ArgumentException or LinuxException)
        {
            return e.Message;
        }
    }

    /// <summary>Gives up a transfer that is under way, and forgets how the last one ended. False when the device does not return.</summary>
    private async Task<bool> EndTransferAsync()
    {
        if (_transfer is not { } transfer)
            return !_heldTransfer.IsUnderWay;
        if (transfer.IsUnderWay)
        {
            await transfer.CancelAsync().ConfigureAwait(false);
            await ((Task)transfer.Outcome).WaitAsync(_options.DrainTimeout, _options.TimeProvider).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            if (transfer.IsUnderWay)
                return false;
        }

        _transfer = null;
        return true;
    }

    /// <summary>A ring is about to start. A state that is still being written for a migration that was given up does not keep it: the device is not changed by that, and the front-end wants it to go on.</summary>
    private async Task EndSaveAsync()
    {
        if (_transfer is { IsUnderWay: true, Saves: true })
            await EndTransferAsync().ConfigureAwait(false);
    }

    /// <summary>Why a message that would change the device has to wait; null: it has not.</summary>
    private Answer? RefuseWhileTransferring(string request) => IsTransferring
        ? Answer.Refuse(VhostUserViolation.WrongState, $"{request}: the state of the device is being transferred (VHOST_USER_SET_DEVICE_STATE_FD)")
        : null;
}
