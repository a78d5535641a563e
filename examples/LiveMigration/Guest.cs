using Vhost.Frontend;
using Vhost.Protocol;

namespace LiveMigration;

/// <summary>A guest with one processor, which works without pause but while it is stopped. It knows nothing of hosts: its memory is another one when it goes on, and has the same bytes.</summary>
internal abstract class Guest : IDisposable
{
    private static readonly TimeSpan _patience = TimeSpan.FromSeconds(60);

    private readonly SemaphoreSlim _processor = new(1, 1);
    private readonly Thread _thread;
    private readonly GuestHeap _heap = new();
    private volatile bool _ends;
    private bool _disposed;
    private volatile Exception? _failure;
    private long _verified;

    protected Guest(GuestRam ram)
    {
        Ram = ram;
        _thread = new Thread(Run) { Name = "guest", IsBackground = true };
    }

    /// <summary>Bytes that came back from the device and were what they had to be.</summary>
    public long BytesVerified => Volatile.Read(ref _verified);

    /// <summary>What the guest's driver has acknowledged.</summary>
    public abstract VirtioFeatures Features { get; }

    public abstract IReadOnlyList<GuestRing> Rings { get; }

    protected GuestRam Ram { get; private set; }

    /// <summary>Switches the guest on, once its rings run.</summary>
    public void Begin()
    {
        _heap.Fill(Ram);
        _thread.Start();
    }

    /// <summary>The guest stands still when it completes.</summary>
    public Task PauseAsync() => _processor.WaitAsync();

    /// <summary>The guest goes on, in this memory.</summary>
    public void Resume(GuestRam ram)
    {
        Ram = ram;
        _processor.Release();
    }

    /// <summary>Waits until the guest has got so far.</summary>
    public async Task WorkedAsync(long bytes)
    {
        using CancellationTokenSource late = new(_patience);
        while (BytesVerified < bytes && _failure is null)
            await Task.Delay(5, late.Token);
        if (_failure is { } failure)
            throw new InvalidOperationException("The guest has failed.", failure);
    }

    /// <summary>Switches the guest off.</summary>
    /// <returns>The bytes that were verified: what came back from the device, and the guest's own memory.</returns>
    public long Finish()
    {
        _ends = true;
        _thread.Join();
        return _failure is { } failure ? throw new InvalidOperationException("The guest has failed.", failure) : BytesVerified + _heap.Verify(Ram);
    }

    /// <summary>The driver asks its device something by other means than its rings, after it has negotiated.</summary>
    public virtual ValueTask SetUpAsync(VhostUserFrontend device) => ValueTask.CompletedTask;

    /// <summary>What was set up is there on a device that has taken the place of the first.</summary>
    public abstract ValueTask VerifyAsync(VhostUserFrontend device);

    /// <summary>Switches the guest off, if that was not done.</summary>
    public void Dispose()
    {
        if (_disposed)
            return;
        _disposed = true;
        _ends = true;
        if (_thread.IsAlive)
            _thread.Join(TimeSpan.FromSeconds(1)); // one that stands still stays so
        foreach (GuestRing ring in Rings)
            ring.Dispose();
        _processor.Dispose();
    }

    /// <summary>Does what there is to do at present.</summary>
    /// <returns>Whether there was anything.</returns>
    protected abstract bool Work();

    protected void Verified(int bytes) => Volatile.Write(ref _verified, _verified + bytes);

    private void Run()
    {
        try
        {
            while (!_ends)
            {
                _processor.Wait();
                bool worked = Work();
                _heap.Touch(Ram);
                _processor.Release();
                if (!worked && Rings[0].Call.Wait(TimeSpan.FromMilliseconds(20)))
                    Rings[0].Call.TryConsume();
            }
        }
        catch (Exception e)
        {
            _failure = e;
        }
    }
}
