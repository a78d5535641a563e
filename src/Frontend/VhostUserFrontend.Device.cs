using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Frontend;

public sealed partial class VhostUserFrontend
{
    private VirtioDeviceStatus _status;

    /// <summary>GET_CONFIG: reads a window of the device's configuration space.</summary>
    /// <param name="offset">First byte; offset and length together at most 256.</param>
    /// <param name="destination">Filled completely.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when the window was read.</returns>
    /// <exception cref="VhostUserFeatureException">CONFIG is not negotiated.</exception>
    /// <exception cref="VhostUserRejectedException">The back-end refused the window, for example because its configuration space is
    /// smaller.</exception>
    /// <exception cref="VhostUserProtocolException">The reply is about another window.</exception>
    public async ValueTask ReadConfigAsync(uint offset, Memory<byte> destination, CancellationToken cancellationToken = default)
    {
        RequireConfigWindow(offset, destination.Length);
        Use(VhostUserProtocolFeatures.Config, VhostUserRequest.GetConfig);
        if (destination.IsEmpty)
            return;
        uint size = (uint)destination.Length;
        VhostUserConfigReply reply = await Requests.GetConfigAsync(offset, size, cancellationToken: cancellationToken).ConfigureAwait(false);
        if (reply.IsRefusal)
            throw ConfigRefused(offset, size);
        if (reply.Header.Offset != offset || reply.Header.Size != size || reply.Window.Length != destination.Length)
            throw WrongWindow(offset, size, reply);
        reply.Window.CopyTo(destination);
    }

    /// <summary>SET_CONFIG: writes a window of the device's configuration space; the back-end refuses read-only fields.</summary>
    /// <param name="offset">First byte; offset and length together at most 256.</param>
    /// <param name="source">The bytes to write.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when the back-end has taken them.</returns>
    /// <exception cref="VhostUserFeatureException">CONFIG is not negotiated.</exception>
    /// <exception cref="VhostUserRejectedException">The back-end refused (seen only with REPLY_ACK).</exception>
    public ValueTask WriteConfigAsync(uint offset, ReadOnlyMemory<byte> source, CancellationToken cancellationToken = default) =>
        SendConfigAsync(offset, source, VhostUserConfigFlags.Writable, cancellationToken);

    /// <summary>SET_CONFIG for migration: restores a window of the device's configuration space, fields that a driver may only read among them.</summary>
    /// <param name="offset">First byte; offset and length together at most 256.</param>
    /// <param name="source">The bytes, as <see cref="ReadConfigAsync"/> had read them from the back-end before.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when the back-end has taken them.</returns>
    /// <exception cref="VhostUserFeatureException">CONFIG is not negotiated.</exception>
    /// <exception cref="VhostUserRejectedException">The back-end refused (seen only with REPLY_ACK).</exception>
    public ValueTask RestoreConfigAsync(uint offset, ReadOnlyMemory<byte> source, CancellationToken cancellationToken = default) =>
        SendConfigAsync(offset, source, VhostUserConfigFlags.Migration, cancellationToken);

    private async ValueTask SendConfigAsync(uint offset, ReadOnlyMemory<byte> source, VhostUserConfigFlags flags, CancellationToken cancellationToken)
    {
        RequireConfigWindow(offset, source.Length);
        Use(VhostUserProtocolFeatures.Config, VhostUserRequest.SetConfig);
        if (source.IsEmpty)
            return;
        using OperationGate.Pass pass = await _gate.EnterAsync(cancellationToken).ConfigureAwait(false);
        await Requests.SetConfigAsync(offset, source, flags, cancellationToken).ConfigureAwait(false);
        await ConfirmAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>
    /// Resets the device. Running rings are stopped first, so that nothing touches memory any more; then RESET_DEVICE where negotiated, else
    /// SET_STATUS 0 where negotiated, else nothing more (RESET_OWNER is not sent: back-ends disagree on its meaning and some end the connection).
    /// Memory and protocol features stay; the features acknowledged last are acknowledged again, and rings may be started afresh.
    /// </summary>
    /// <param name="cancellationToken">Cancels freely between messages; see the remarks of the class.</param>
    /// <returns>How the device was reset.</returns>
    public async ValueTask<DeviceResetMethod> ResetDeviceAsync(CancellationToken cancellationToken = default)
    {
        using OperationGate.Pass pass = await _gate.EnterAsync(cancellationToken).ConfigureAwait(false);
        foreach (FrontendVring ring in RunningRings().ToArray())
            await StopForResetAsync(ring, cancellationToken).ConfigureAwait(false);
        DeviceResetMethod method = await SendResetAsync(cancellationToken).ConfigureAwait(false);
        await ForgetSharedAsync().ConfigureAwait(false);
        _inflight = null; // what was in flight is forgotten
        (_suspendedInflight, _suspendedContent) = (null, []);
        _suspended.Clear();
        await SendFeaturesAsync(AcknowledgedFeatures, cancellationToken).ConfigureAwait(false);
        await ConfirmAsync(cancellationToken).ConfigureAwait(false);
        FrontendLog.DeviceReset(_log, method);
        return method;
    }

    /// <summary>GET_STATUS: the virtio device status.</summary>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>The status.</returns>
    /// <exception cref="VhostUserFeatureException">STATUS is not negotiated.</exception>
    public async ValueTask<VirtioDeviceStatus> GetStatusAsync(CancellationToken cancellationToken = default)
    {
        Use(VhostUserProtocolFeatures.Status, VhostUserRequest.GetStatus);
        return (VirtioDeviceStatus)(byte)await Requests.GetStatusAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>
    /// SET_STATUS: the virtio device status as the guest's driver wrote it. The session itself announces FEATURES_OK with the features and
    /// DRIVER_OK with the rings; this is for a hypervisor that passes on more.
    /// </summary>
    /// <param name="status">The status; 0 resets the device, for which <see cref="ResetDeviceAsync"/> is the safer way.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when the back-end has taken it.</returns>
    /// <exception cref="VhostUserFeatureException">STATUS is not negotiated.</exception>
    public async ValueTask SetStatusAsync(VirtioDeviceStatus status, CancellationToken cancellationToken = default)
    {
        using OperationGate.Pass pass = await _gate.EnterAsync(cancellationToken).ConfigureAwait(false);
        Use(VhostUserProtocolFeatures.Status, VhostUserRequest.SetStatus);
        await SendStatusAsync(status, cancellationToken).ConfigureAwait(false);
        await ConfirmAsync(cancellationToken).ConfigureAwait(false);
        if (status != 0)
            return;
        _suspended.Clear();
        await ForgetSharedAsync().ConfigureAwait(false);
    }

    /// <summary>A wrong base does not matter to a ring that starts afresh.</summary>
    private async ValueTask StopForResetAsync(FrontendVring ring, CancellationToken cancellationToken)
    {
        try
        {
            await StopAsync(ring, cancellationToken).ConfigureAwait(false);
        }
        catch (VhostUserProtocolException failure) when (!ring.IsStarted)
        {
            FrontendLog.RingNotStopped(_log, ring.Index, failure.Message);
        }
    }

    private async ValueTask<DeviceResetMethod> SendResetAsync(CancellationToken cancellationToken)
    {
        if (Has(VhostUserProtocolFeatures.ResetDevice))
        {
            MarkUsed(VhostUserProtocolFeatures.ResetDevice);
            await Requests.ResetDeviceAsync(cancellationToken).ConfigureAwait(false);
            _status = default;
            return DeviceResetMethod.ResetDevice;
        }

        if (!Has(VhostUserProtocolFeatures.Status))
            return DeviceResetMethod.RingsStopped;
        await SendStatusAsync(default, cancellationToken).ConfigureAwait(false);
        return DeviceResetMethod.Status;
    }

    private async ValueTask AnnounceFeaturesOkAsync(CancellationToken cancellationToken)
    {
        await SendStatusAsync(
            VirtioDeviceStatus.Acknowledge | VirtioDeviceStatus.Driver | VirtioDeviceStatus.FeaturesOk, cancellationToken).ConfigureAwait(false);
        VirtioDeviceStatus answer = (VirtioDeviceStatus)(byte)await Requests.GetStatusAsync(cancellationToken).ConfigureAwait(false);
        if ((answer & VirtioDeviceStatus.FeaturesOk) == 0)
        {
            throw new VhostUserFeatureException(
                $"The back-end does not accept the features {Describe(AcknowledgedFeatures)}: " +
                $"its status 0x{(byte)answer:x2} lacks FEATURES_OK.",
                AcknowledgedFeatures,
                VhostUserProtocolFeatures.None);
        }
    }

    private ValueTask AnnounceDriverOkAsync(CancellationToken cancellationToken) =>
        (_status & VirtioDeviceStatus.DriverOk) != 0
            ? ValueTask.CompletedTask
            : SendStatusAsync(_status | VirtioDeviceStatus.DriverOk, cancellationToken);

    private async ValueTask SendStatusAsync(VirtioDeviceStatus status, CancellationToken cancellationToken)
    {
        MarkUsed(VhostUserProtocolFeatures.Status);
        await Requests.SetStatusAsync((byte)status, cancellationToken).ConfigureAwait(false);
        _status = status;
    }

    private static void RequireConfigWindow(uint offset, int length)
    {
        if (offset > VringLimits.ConfigSpaceSize || length > VringLimits.ConfigSpaceSize - (int)offset)
        {
            throw new ArgumentOutOfRangeException(
                nameof(offset),
                offset,
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"A window of {length} bytes there ends beyond the configuration space of {VringLimits.ConfigSpaceSize} bytes."));
        }
    }

    private static VhostUserRejectedException ConfigRefused(uint offset, uint size) =>
        new(string.Create(CultureInfo.InvariantCulture, $"VHOST_USER_GET_CONFIG: the back-end refused {size} bytes at offset {offset}."), replyCode: 0)
        {
            RequestCode = (uint)VhostUserRequest.GetConfig,
        };

    private static VhostUserProtocolException WrongWindow(uint offset, uint size, VhostUserConfigReply reply) =>
        new(VhostUserViolation.BadConfigRange,
            string.Create(
                CultureInfo.InvariantCulture,
                $"VHOST_USER_GET_CONFIG: asked for {size} bytes at offset {offset}, answered with {reply.Window.Length} bytes, said to be " +
                $"{reply.Header.Size} at offset {reply.Header.Offset}."))
        {
            RequestCode = (uint)VhostUserRequest.GetConfig,
        };
}
