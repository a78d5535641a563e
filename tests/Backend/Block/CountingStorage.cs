using Vhost.Protocol;

namespace Vhost.Backend.Tests;

/// <summary>Counts bytes and flushes, and fails on demand.</summary>
internal sealed class CountingStorage(ulong length) : IBlockStorage
{
    public ulong Length { get; set; } = length;

    public bool IsReadOnly { get; init; }

    public int Flushes { get; private set; }

    public Exception? Failure { get; set; }

    /// <summary>Of so many calls one fails; 1 for all.</summary>
    public int FailsEvery { get; set; } = 1;

    /// <summary>Bytes read and written.</summary>
    public ulong Moved { get; private set; }

    /// <summary>Behind the last byte that was read or written.</summary>
    public ulong NextOffset { get; private set; }

    /// <summary>Called once, while the next flush is under way.</summary>
    public Action? Flushing { get; set; }

    private int _calls;

    public void Read(ulong offset, in GuestBuffers destination) => Count(offset, destination.Length);

    public void Write(ulong offset, in GuestBuffers source) => Count(offset, source.Length);

    public void Flush()
    {
        Action? flushing = Flushing;
        Flushing = null;
        flushing?.Invoke();
        ThrowIfFailing();
        Flushes++;
    }

    public void Discard(ulong offset, ulong length) => ThrowIfFailing();

    public void WriteZeroes(ulong offset, ulong length, bool mayUnmap) => ThrowIfFailing();

    public void Dispose()
    {
    }

    private void Count(ulong offset, uint length)
    {
        ThrowIfFailing();
        Moved += length;
        NextOffset = offset + length;
    }

    private void ThrowIfFailing()
    {
        if (++_calls % FailsEvery == 0 && Failure is not null)
            throw Failure;
    }
}
