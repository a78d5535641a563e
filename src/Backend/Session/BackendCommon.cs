using Microsoft.Extensions.Logging;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>What outlives the sessions of a back-end, which run one after the other.</summary>
internal sealed record BackendCommon(
    IVhostUserDevice Device,
    DeviceTraits Traits,
    VhostUserBackendOptions Options,
    ILogger Logger,
    LogBudget Budget,
    HeldQueues Held,
    HeldTransfer HeldTransfer,
    BackendEvents Events,
    QueueCounters[] Counters,
    IotlbCounters Iotlb);
