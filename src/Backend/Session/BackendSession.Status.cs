using System.Runtime.CompilerServices;
using Vhost.Protocol;

namespace Vhost.Backend;

// What the application sees of a session. Everything that is read here from another thread is one word, or an object that does not change.
internal sealed partial class BackendSession
{
    private volatile StrongBox<NegotiatedState> _shownState;

    /// <summary>The MTU that the front-end set; 0: none.</summary>
    private volatile int _mtu;

    /// <summary>Any thread.</summary>
    internal BackendStatus GetStatus()
    {
        NegotiatedState state = _shownState.Value;
        return new BackendStatus
        {
            Peer = _connection.Name,
            OfferedFeatures = state.Offered,
            Features = state.Features,
            OfferedProtocolFeatures = state.OfferedProtocol,
            ProtocolFeatures = state.Protocol,
            DeviceStatus = (VirtioDeviceStatus)_status.Value,
            Mtu = _mtu is var mtu and not 0 ? mtu : null,
            Memory = [.. Volatile.Read(ref _memory).Regions.Select(static region => new BackendMemoryRegion(region.GuestAddress, region.UserAddress, region.Size))],
            TracksInflight = Volatile.Read(ref _inflight) is not null,
            HasBackendChannel = Volatile.Read(ref _channel) is not null,
            Queues = Array.ConvertAll(_vrings, vring => StatusOf(vring, state.Features)),
        };
    }

    private QueueStatus StatusOf(VringState vring, VirtioFeatures features)
    {
        DeviceVirtqueue? queue = vring.Worker?.Queue;
        QueueState state = vring.State;
        return new QueueStatus
        {
            Index = vring.Index,
            State = state,
            Size = vring.Size,
            Address = vring.Address,
            Base = queue?.ShownPosition ?? vring.Base ?? (features.HasFlag(VirtioFeatures.RingPacked) ? VirtqueueSetup.FreshPackedBase : 0),
            HasKick = vring.Kick is not null,
            HasCall = vring.Call is not null,
            Available = queue?.CountShown() ?? 0,
            InFlight = queue?.InFlight ?? 0,
            Fault = state == QueueState.Broken ? queue?.Fault ?? VirtqueueFault.None : VirtqueueFault.None,
            FaultDetail = state == QueueState.Broken ? queue?.FaultDetail : null,
            Statistics = _counters[vring.Index].Snapshot(),
        };
    }

    /// <summary>After each message, before its answer: when a front-end is told that a queue stopped, so was the application.</summary>
    private void TellChanges()
    {
        if (_shownState.Value != _state)
            _shownState = new StrongBox<NegotiatedState>(_state);
        _events.Tell(_connection.Name, _state.Features, _vrings);
    }
}
