using Vhost.Protocol;

namespace LiveMigration;

/// <summary>
/// How memory gets to the other host: while the guest runs all of it, and then again what was written meanwhile, until little is left; the rest while the guest stands still. A way that lets the guest go on
/// there before its memory has arrived (postcopy) would take this one's place.
/// </summary>
internal sealed class Precopy(Host source, Host destination)
{
    private const int MostPasses = 30;
    private const ulong LittleLeft = 64 * DirtyLog.PageSize;

    private readonly ulong[] _byDevice = new ulong[DirtyRuns.WordsFor(GuestRam.Size)];
    private readonly ulong[] _byGuest = new ulong[DirtyRuns.WordsFor(GuestRam.Size)];

    /// <summary>While the guest runs.</summary>
    public async Task BeginAsync()
    {
        await source.Device.StartLoggingAsync(); // from here on every write of the back-end can be found
        destination.Ram.CopyFrom(source.Ram, 0, GuestRam.Size);
        int passes = 0;
        ulong copied;
        do
        {
            copied = CopyWritten();
            Console.WriteLine($"pass {++passes}: {copied >> 10} KiB had been written");
        }
        while (copied > LittleLeft && passes < MostPasses);
    }

    /// <summary>While the guest and the device stand still: what is left.</summary>
    public async Task EndAsync()
    {
        CopyWritten();
        await source.Device.StopLoggingAsync();
    }

    /// <summary>The marks are taken first and the pages copied after that: what is written in between is marked again.</summary>
    private ulong CopyWritten()
    {
        ulong copied = 0;
        foreach (DirtyRun run in source.Device.TakeDirty(source.Ram.Region, _byDevice))
            copied += Copy(run);
        source.Ram.Written.Take(default, GuestRam.Size, _byGuest);
        foreach (DirtyRun run in new DirtyRuns(_byGuest, default, GuestRam.Size))
            copied += Copy(run);
        return copied;
    }

    private ulong Copy(DirtyRun run)
    {
        destination.Ram.CopyFrom(source.Ram, run.Offset, run.Length);
        return run.Length;
    }
}
