using System.Diagnostics;
using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>
/// The driver's half of a ring, written word by word into the memory of a case: it knows the layout of the specification and nothing of the library's own rings. The device may
/// write at any time into its part of the ring; everything of it is read once.
/// </summary>
internal abstract class DriverRing(RingPlace place, Dialogue dialogue, TimeSpan patience) : IDisposable
{
    /// <summary>The next descriptor of the chain follows.</summary>
    public const ushort Next = 1;

    /// <summary>The device writes this buffer.</summary>
    public const ushort Write = 2;

    /// <summary>The buffer is a table of descriptors.</summary>
    public const ushort Indirect = 4;

    private static readonly TimeSpan _glance = TimeSpan.FromMilliseconds(1);

    private bool _takesKicks;

    public int Index => place.Index;

    public int Size => place.Size;

    public CaseMemory Memory => place.Memory;

    public EventNotifier Kick { get; } = new();

    public EventNotifier Call { get; } = new();

    public EventNotifier Error { get; } = new();

    public abstract bool IsPacked { get; }

    /// <summary>Where its parts are, as SET_VRING_ADDR says it.</summary>
    public abstract VhostUserVringAddress Address { get; }

    /// <summary>What SET_VRING_BASE says of the ring as it stands: where the device goes on. Nothing may be under way.</summary>
    public abstract uint Base { get; }

    private bool IsKickWaiting => Libc.Poll(Kick.Descriptor, Libc.POLLIN, 0) > 0;

    /// <summary>Waits until a device that takes kicks, which shows with the first chain that it uses, has taken the last one: what is said from then on comes while it is at work.</summary>
    public async Task KickTakenAsync()
    {
        long begun = Stopwatch.GetTimestamp();
        while (_takesKicks && IsKickWaiting && Stopwatch.GetElapsedTime(begun) < patience)
            await Task.Yield();
    }

    /// <summary>The first guest address of the ring.</summary>
    protected ulong At => place.At;

    /// <summary>Makes a chain available. Returns its id.</summary>
    public uint Offer(params ReadOnlySpan<ChainBuffer> chain)
    {
        uint id = Publish(chain);
        dialogue.Note($"ring {Index}: chain {id} is available: {string.Join(", ", chain.ToArray())}");
        return id;
    }

    /// <summary>Makes one chain available whose buffers are in a table of their own.</summary>
    public uint OfferIndirect(params ReadOnlySpan<ChainBuffer> chain)
    {
        ulong table = Memory.Allocate(16 * chain.Length, 16);
        WriteTable(table, chain);
        return OfferTable(table, (uint)(16 * chain.Length));
    }

    /// <summary>Makes a chain available that is one descriptor with the INDIRECT flag.</summary>
    public uint OfferTable(ulong table, uint length, ushort moreFlags = 0)
    {
        uint id = PublishOne(table, length, (ushort)(Indirect | moreFlags));
        dialogue.Note($"ring {Index}: chain {id} is available: a table of {length} bytes at 0x{table:x}");
        return id;
    }

    /// <summary>Makes descriptors available as they are, one behind the other in the ring; those of a split ring name the next one as the next.</summary>
    public uint OfferRaw(params ReadOnlySpan<RawDescriptor> chain)
    {
        uint id = PublishRaw(chain);
        dialogue.Note($"ring {Index}: chain {id} is available: {string.Join(", ", chain.ToArray())}");
        return id;
    }

    /// <summary>Signals the ring's kick descriptor.</summary>
    public void Notify()
    {
        Kick.Signal();
        dialogue.Note($"ring {Index} is kicked");
    }

    /// <summary>The next used chain. A device that uses none within the patience of the run fails the case.</summary>
    public async Task<UsedBuffer> UsedAsync(string awaited)
    {
        if (await TryUsedAsync(patience).ConfigureAwait(false) is { } used)
            return used;
        dialogue.Note($"ring {Index}: nothing was used within {patience.TotalSeconds:0.###} s");
        throw Expect.Failed(awaited, $"ring {Index} used nothing");
    }

    /// <summary>The next used chain, or null when there is none within <paramref name="time"/>.</summary>
    public async Task<UsedBuffer?> TryUsedAsync(TimeSpan time)
    {
        long begun = Stopwatch.GetTimestamp();
        for (int looks = 0; ; looks++)
        {
            if (TryTakeUsed(out UsedBuffer used))
            {
                dialogue.Note($"ring {Index}: used chain {used.Id}, {used.Length} bytes written");
                _takesKicks = !IsKickWaiting;
                return used;
            }

            if (Stopwatch.GetElapsedTime(begun) > time)
                return null;
            await (looks < 100 ? Task.CompletedTask : Task.Delay(1)).ConfigureAwait(false);
            if (looks < 100)
                await Task.Yield();
        }
    }

    /// <summary>
    /// The next used chain of a device that need not use any. Null: it has taken the kick, and done nothing within <paramref name="quiet"/> of that. Whether a device takes kicks, or polls and leaves them
    /// where they are, shows with each chain that it uses; one of which it has not shown has five times the time.
    /// </summary>
    public async Task<UsedBuffer?> TryServedAsync(TimeSpan quiet)
    {
        if (!_takesKicks)
            return await TryUsedAsync(5 * quiet).ConfigureAwait(false);
        long begun = Stopwatch.GetTimestamp();
        while (IsKickWaiting && Stopwatch.GetElapsedTime(begun) < patience)
        {
            if (await TryUsedAsync(_glance).ConfigureAwait(false) is { } used)
                return used;
        }

        return await TryUsedAsync(quiet).ConfigureAwait(false);
    }

    /// <summary>Takes the next used chain if there is one.</summary>
    public abstract bool TryTakeUsed(out UsedBuffer used);

    /// <summary>Begins anew at a base, with nothing under way and nothing in the ring.</summary>
    public abstract void StartAt(uint ringBase);

    /// <summary>What lies in the parts of the ring that only the driver writes.</summary>
    public abstract byte[] DriverParts();

    public void Dispose()
    {
        Kick.Dispose();
        Call.Dispose();
        Error.Dispose();
    }

    /// <summary>Writes descriptors of a table in the layout of this ring.</summary>
    public abstract void WriteTable(ulong table, ReadOnlySpan<ChainBuffer> chain);

    protected abstract uint Publish(ReadOnlySpan<ChainBuffer> chain);

    protected abstract uint PublishRaw(ReadOnlySpan<RawDescriptor> chain);

    protected abstract uint PublishOne(ulong address, uint length, ushort flags);
}
