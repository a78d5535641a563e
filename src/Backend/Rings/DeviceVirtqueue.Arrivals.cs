using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// Requests in memory that has not arrived yet (postcopy). They stay on the ring, and those behind them too, until it is brought in elsewhere: the worker never waits for a page.
/// </summary>
public sealed partial class DeviceVirtqueue
{
    /// <summary>Memory that the next request needs and that is being brought in.</summary>
    private Task<int>? _arrival;

    /// <summary>Brings memory in that has not arrived; null where all has.</summary>
    internal IMemoryArrivals? Arrivals { get; set; }

    /// <summary>The batch ends before a request whose memory has not arrived.</summary>
    private void AwaitArrival()
    {
        if (!_batch.Window.TryTakeAbsent(out AbsentRange absent) || Arrivals is not { } arrivals)
            return;
        _arrival = arrivals.BringInAsync(absent, () => Wake?.Invoke());
        LeaveOnRing();
    }

    private bool HasArrived()
    {
        if (!_arrival!.IsCompleted)
        {
            LeaveOnRing();
            return false;
        }

        int errno = _arrival.Result;
        _arrival = null;
        if (errno is 0 or IMemoryArrivals.Over)
            return true;
        Break(VirtqueueFault.BufferOutsideMemory, string.Create(CultureInfo.InvariantCulture, $"memory that a request needs cannot be brought in: error {errno}"));
        return false;
    }
}
