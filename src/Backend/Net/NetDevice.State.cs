using System.IO.Pipelines;

namespace Vhost.Backend;

/// <summary>What moves with the guest: all that its driver has said on the control queue, and the MTU.</summary>
public sealed partial class NetDevice : IMigratableDevice
{
    private const uint DeviceId = 1;
    private const uint StateVersion = 1;

    /// <summary>Writes what the driver has said on the control queue (its address, receive modes and tables, VLANs, pairs of queues, announcement), and the MTU that the front-end named.</summary>
    /// <inheritdoc/>
    public ValueTask SaveStateAsync(PipeWriter destination, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(destination);
        return DeviceStateFrame.WriteAsync(destination, DeviceId, StateVersion, _control.Save(Mtu).ToBytes(), cancellationToken);
    }

    /// <summary>Takes it over: <see cref="ReceiveFilter"/>, <see cref="ActivePairs"/> and <see cref="Mtu"/> are those of the guest that comes. More pairs than this device has are an error.</summary>
    /// <inheritdoc/>
    public async ValueTask LoadStateAsync(PipeReader source, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(source);
        byte[] bytes = await DeviceStateFrame.ReadAsync(source, DeviceId, StateVersion, cancellationToken).ConfigureAwait(false);
        NetControlState state = NetControlState.Parse(bytes, _ports.Length, _options.Mtu ?? MaxMtu);
        _control.Restore(state);
        Mtu = state.Mtu;
    }
}
