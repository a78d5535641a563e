using Vhost.Protocol;

namespace Vhost.Backend;

// Negotiation, reset and status.
internal sealed partial class BackendSession
{
    private readonly DriverStatus _status = new();

    private Answer GetFeatures() => Answer.Reply(new VhostUserU64((ulong)_state.Offered));

    private Answer GetProtocolFeatures() => Answer.Reply(new VhostUserU64((ulong)_state.OfferedProtocol));

    private async ValueTask<Answer> SetFeaturesAsync(ulong value)
    {
        VirtioFeatures features = (VirtioFeatures)value;
        if ((features & ~_state.Offered) != 0)
            return NotOffered("VHOST_USER_SET_FEATURES", value, FeatureNames.Describe(features & ~_state.Offered), (ulong)_state.Offered);
        VirtioFeatures changed = features ^ _state.Features;
        bool running = Array.Exists(_vrings, vring => vring.Started);
        bool changes = (changed & ~VirtioFeatures.LogAll) != 0;
        if (running && changes)
        {
            return Answer.Refuse(
                VhostUserViolation.QueueStarted,
                $"VHOST_USER_SET_FEATURES: 0x{value:x} changes bits 0x{(ulong)changed:x} of 0x{(ulong)_state.Features:x} while queues are started; "
                + "only LOG_ALL may change then");
        }

        if (changes && RefuseWhileTransferring("VHOST_USER_SET_FEATURES") is { } wait)
            return wait;

        // Front-ends say the features again for each pair of queues. A device is never told while a queue runs or its state is transferred; the log is none of its business.
        string failure = string.Empty;
        if (!running && !IsTransferring && !TryCallDevice(() => _device.Configure(features & ~(VirtioFeatures.VhostUserProtocolFeatures | VirtioFeatures.LogAll | VirtioFeatures.AccessPlatform)), out failure))
            return Answer.Refuse(VhostUserViolation.BadFeatureBits, $"VHOST_USER_SET_FEATURES: 0x{value:x}{failure}");
        _state = _state with { Features = features };
        ForgetTranslationsAtRest();
        if (changed.HasFlag(VirtioFeatures.LogAll))
            await SwitchLogAsync().ConfigureAwait(false);
        if (!features.HasFlag(VirtioFeatures.VhostUserProtocolFeatures))
            await EnableAllAsync().ConfigureAwait(false);
        return Answer.Done;
    }

    private Answer SetProtocolFeatures(ulong value)
    {
        if ((value & ~(ulong)_state.OfferedProtocol) != 0)
            return NotOffered("VHOST_USER_SET_PROTOCOL_FEATURES", value, FeatureNames.Describe((VhostUserProtocolFeatures)value & ~_state.OfferedProtocol), (ulong)_state.OfferedProtocol);
        if ((VhostUserProtocolFeatures)value is var features && features.HasFlag(VhostUserProtocolFeatures.InbandNotifications)
            && ProtocolFeatureRules.MissingFrom(VhostUserProtocolFeatures.InbandNotifications) is var needed && (needed & ~features) != 0)
        {
            return Answer.Close(
                VhostUserViolation.BadFeatureBits,
                $"VHOST_USER_SET_PROTOCOL_FEATURES: 0x{value:x} contains INBAND_NOTIFICATIONS without {FeatureNames.Describe(needed & ~features)}, which it needs");
        }

        _state = _state with { Protocol = features };
        return Answer.Done;
    }

    /// <summary>Front-ends of network devices count pairs of queues, and leave a control queue out.</summary>
    private Answer GetQueueNumber() =>
        Answer.Reply(new VhostUserU64(_device is IVhostUserNetDevice net ? (ulong)net.QueuePairs : (ulong)_vrings.Length));

    private Answer SetMtu(ulong mtu)
    {
        if (RefuseWhileTransferring("VHOST_USER_NET_SET_MTU") is { } wait)
            return wait;
        bool taken = false;
        bool called = TryCallDevice(() => taken = mtu <= int.MaxValue && ((IVhostUserNetDevice)_device).TrySetMtu(mtu), out string failure);
        if (!called || !taken)
            return Answer.Refuse(VhostUserViolation.BadValue, $"VHOST_USER_NET_SET_MTU: the device does not take an MTU of {mtu}{failure}");
        _mtu = (int)mtu;
        return Answer.Done;
    }

    private Answer AnnounceAddress(ulong address)
    {
        if (RefuseWhileTransferring("VHOST_USER_SEND_RARP") is { } wait)
            return wait;
        TryCallDevice(() => ((IVhostUserNetDevice)_device).AnnounceAddress(new MacAddress(address & 0xFFFF_FFFF_FFFF)), out _);
        return Answer.Done;
    }

    private static Answer NotOffered(string request, ulong value, string missing, ulong offered) => Answer.Refuse(
        VhostUserViolation.BadFeatureBits,
        $"{request}: 0x{value:x} contains {missing}, which was not offered (offered: 0x{offered:x})");

    /// <summary>RESET_DEVICE, and RESET_OWNER which means the same here. Memory, protocol features and the back-end channel stay.</summary>
    private async ValueTask<Answer> ResetDeviceAsync()
    {
        await StopAllVringsAsync().ConfigureAwait(false);
        if (!await EndTransferAsync().ConfigureAwait(false))
            return NotReturned("VHOST_USER_RESET_DEVICE");
        ForgetInflightArea(); // of a device that was reset nothing is in flight
        foreach (VringState vring in _vrings)
            vring.Forget();
        _status.Set(0);
        _state = _state with { Features = VirtioFeatures.None };
        ResetDevice();
        return Answer.Done;
    }

    /// <summary>The device is not reset beside itself: it could take the state that it was given afterwards.</summary>
    private static Answer NotReturned(string request) => Answer.Refuse(
        VhostUserViolation.WrongState, $"{request}: the device has not returned from the transfer of its state (VHOST_USER_SET_DEVICE_STATE_FD), and is not reset before");

    private async ValueTask<Answer> SetStatusAsync(ulong value)
    {
        if (value > byte.MaxValue)
            return Answer.Refuse(VhostUserViolation.BadValue, $"VHOST_USER_SET_STATUS: status 0x{value:x} is more than one byte");
        if (value == 0)
        {
            // A driver's reset. What the rings were told stays: a front-end may still ask for their bases.
            await StopAllVringsAsync().ConfigureAwait(false);
            if (!await EndTransferAsync().ConfigureAwait(false))
                return NotReturned("VHOST_USER_SET_STATUS");
            ResetDevice();
        }

        _status.Set((byte)value);
        return Answer.Done;
    }
}
