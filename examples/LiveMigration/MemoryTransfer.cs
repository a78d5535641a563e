using Vhost.Protocol;

namespace LiveMigration;

/// <summary>How memory gets to the other host. Each way has its turn while the guest runs here, while it stands still, and when it runs there.</summary>
internal abstract class MemoryTransfer(Host source, Host destination) : IAsyncDisposable
{
    private readonly ulong[] _byDevice = new ulong[DirtyRuns.WordsFor(GuestRam.Size)];
    private readonly ulong[] _byGuest = new ulong[DirtyRuns.WordsFor(GuestRam.Size)];

    protected Host Source => source;

    protected Host Destination => destination;

    /// <summary>While the guest runs here.</summary>
    public abstract Task BeginAsync();

    /// <summary>While the guest and the device stand still. When it completes, the back-end there has memory with which it can go on.</summary>
    public abstract Task SwitchAsync();

    /// <summary>Compares what both hosts have now. No migration does this; it is what this example is for.</summary>
    /// <returns>Bytes that are the same.</returns>
    public abstract long Compare();

    /// <summary>The guest runs there; completes when it needs this host no more.</summary>
    public abstract Task EndAsync();

    /// <inheritdoc/>
    public virtual ValueTask DisposeAsync() => ValueTask.CompletedTask;

    /// <summary>From here on every write can be found, of the back-end and of the guest.</summary>
    protected async Task StartLoggingAsync()
    {
        await source.Device.StartLoggingAsync();
        TakeWritten(static _ => { }); // what the guest has written before is copied all the same
    }

    /// <summary>Names what was written since the last time. The marks are taken first and the pages copied after that: what is written in between is marked again.</summary>
    /// <returns>Bytes; what both have written, guest and device, counts twice.</returns>
    protected ulong TakeWritten(Action<DirtyRun> written)
    {
        ulong bytes = 0;
        foreach (DirtyRun run in source.Device.TakeDirty(source.Ram.Region, _byDevice))
        {
            written(run);
            bytes += run.Length;
        }

        source.Ram.Written.Take(default, GuestRam.Size, _byGuest);
        foreach (DirtyRun run in new DirtyRuns(_byGuest, default, GuestRam.Size))
        {
            written(run);
            bytes += run.Length;
        }

        return bytes;
    }

    protected void Copy(DirtyRun run) => destination.Ram.CopyFrom(source.Ram, run.Offset, run.Length);

    protected void RequireSame(ulong at, ulong length)
    {
        byte[] here = new byte[length];
        byte[] there = new byte[length];
        source.Ram.Read(at, here);
        destination.Ram.Read(at, there);
        if (!here.AsSpan().SequenceEqual(there))
            throw new InvalidOperationException($"Memory at 0x{at:x} is not what it was: somebody wrote there and did not say so.");
    }
}
