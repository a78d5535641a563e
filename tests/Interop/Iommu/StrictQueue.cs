using System.Collections.Concurrent;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Iommu;

/// <summary>A queue of a <see cref="StrictGuest"/>: each request is mapped before it is offered, and unmapped when it has come back.</summary>
internal sealed class StrictQueue : IDisposable
{
    private readonly StrictGuest _guest;
    private readonly DriverVirtqueue _driver;
    private readonly Lock _gate = new();
    private readonly EventNotifier _kick = new();
    private readonly EventNotifier _call = new();
    private readonly ConcurrentDictionary<ulong, TaskCompletionSource<uint>> _waiting = new();
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _pump;
    private ulong _token;
    private TaskCompletionSource _next = new(TaskCreationOptions.RunContinuationsAsynchronously);

    internal StrictQueue(StrictGuest guest, VirtioFeatures features, ushort size = 64)
    {
        _guest = guest;
        bool indirect = (features & VirtioFeatures.IndirectDescriptors) != 0;
        DriverVirtqueueOptions options = new() { Size = size, IndirectBuffers = indirect ? 16 : 0 };
        Bytes = DriverVirtqueue.SizeInBytes(options, features);
        At = guest.MapRing(Bytes);
        _driver = DriverVirtqueue.Create(guest.RingView, At, options, features);
        _pump = PumpAsync();
    }

    /// <summary>Where the ring lies.</summary>
    internal GuestAddress At { get; }

    internal ulong Bytes { get; }

    /// <summary>Ends when the next request has come back.</summary>
    internal Task Next => Volatile.Read(ref _next).Task;

    internal VringSettings Describe(int index) => _driver.Describe(index, _kick, _call);

    /// <summary>Takes the ring away from the device and gives it back.</summary>
    internal Task BounceAsync(Func<Task>? meanwhile = null) => _guest.BounceRingAsync(At, Bytes, meanwhile);

    /// <summary>One request from the mapping to the end of it.</summary>
    /// <returns>What the device wrote into each of the buffers for it.</returns>
    internal async Task<byte[][]> RequestAsync(IReadOnlyList<byte[]> readable, IReadOnlyList<int> writable, Func<Task>? beforeMapping = null)
    {
        StrictBuffer[] given = [.. readable.Select(bytes => _guest.Take(bytes.Length, VhostUserIotlbPermission.ReadOnly, bytes))];
        StrictBuffer[] wanted = [.. writable.Select(length => _guest.Take(length, VhostUserIotlbPermission.WriteOnly))];
        StrictBuffer[] all = [.. given, .. wanted];
        Task map = MapAsync(all, beforeMapping);
        if (beforeMapping is null)
            await map;
        await SubmitAsync(given, wanted).InTime();
        await map;
        foreach (StrictBuffer buffer in all)
            await _guest.UnmapAsync(buffer);
        byte[][] result = [.. wanted.Select(_guest.Read)];
        foreach (StrictBuffer buffer in all)
            _guest.Free(buffer);
        return result;
    }

    /// <summary>Offers buffers that are mapped.</summary>
    /// <returns>The bytes written, once the request has come back.</returns>
    internal Task<uint> SubmitAsync(StrictBuffer[] readable, StrictBuffer[] writable)
    {
        TaskCompletionSource<uint> done = new(TaskCreationOptions.RunContinuationsAsynchronously);
        lock (_gate)
        {
            ulong token = _token++;
            _waiting[token] = done;
            GuestBuffer[] given = [.. readable.Select(StrictGuest.Describe)];
            GuestBuffer[] wanted = [.. writable.Select(StrictGuest.Describe)];
            _driver.TrySubmit(given, wanted, token).Should().BeTrue();
            if (_driver.Publish())
                _kick.Signal();
        }

        return done.Task;
    }

    public void Dispose()
    {
        _stop.Cancel();
        _pump.InTime().GetAwaiter().GetResult();
        _driver.Dispose();
        _kick.Dispose();
        _call.Dispose();
        _stop.Dispose();
    }

    private async Task MapAsync(StrictBuffer[] buffers, Func<Task>? before)
    {
        if (before is not null)
            await before();
        foreach (StrictBuffer buffer in buffers)
            _guest.Map(buffer);
    }

    private async Task PumpAsync()
    {
        DriverCompletion[] done = new DriverCompletion[64];
        try
        {
            while (true)
            {
                int count;
                lock (_gate)
                {
                    count = _driver.Drain(done);
                    if (count == 0 && !_driver.ArmCall())
                        continue;
                }

                foreach (DriverCompletion one in done.AsSpan(0, count))
                {
                    _waiting.TryRemove(one.Token, out TaskCompletionSource<uint>? waiting).Should().BeTrue("each request comes back once");
                    waiting!.SetResult(one.BytesWritten);
                }

                if (count > 0)
                {
                    Interlocked.Exchange(ref _next, new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)).SetResult();
                    continue;
                }

                await _call.WaitAsync(_stop.Token);
                _call.TryConsume();
            }
        }
        catch (OperationCanceledException)
        {
            // The test is over.
        }
    }
}
