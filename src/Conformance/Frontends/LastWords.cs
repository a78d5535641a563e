using System.Text;

namespace Vhost.Conformance;

/// <summary>What a program printed last, however much it prints.</summary>
internal sealed class LastWords : IAsyncDisposable
{
    private const int MostBytes = 4096;
    private const int MostLines = 10;

    // What was left running may hold the other end for ever.
    private static readonly TimeSpan _mostForEnd = TimeSpan.FromSeconds(1);

    private readonly Lock _gate = new();
    private readonly Stream _printed;
    private readonly Task _ended;
    private byte[] _last = [];

    /// <summary>Reads until the end, from now on.</summary>
    /// <param name="printed">Owned from here on.</param>
    public LastWords(Stream printed) => (_printed, _ended) = (printed, Task.Run(() => ReadAsync(printed)));

    /// <summary>The last lines that are not empty, at most ten, and at most four kibibytes.</summary>
    /// <param name="hasEnded">Whether the program has ended, so that the end of what it printed is near.</param>
    public async Task<string[]> LinesAsync(bool hasEnded)
    {
        if (hasEnded)
            await _ended.WaitAsync(_mostForEnd).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        lock (_gate)
            return [.. Encoding.UTF8.GetString(_last).Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries).TakeLast(MostLines)];
    }

    /// <summary>Reads no more. Whoever still prints is told by a signal.</summary>
    public async ValueTask DisposeAsync()
    {
        await _printed.DisposeAsync().ConfigureAwait(false);
        await _ended.WaitAsync(_mostForEnd).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    private async Task ReadAsync(Stream printed)
    {
        byte[] buffer = new byte[MostBytes];
        try
        {
            while (await printed.ReadAsync(buffer).ConfigureAwait(false) is > 0 and int count)
                Keep(buffer.AsSpan(0, count));
        }
        catch (Exception failure) when (failure is IOException or ObjectDisposedException or OperationCanceledException)
        {
            // Nobody listens any more.
        }
    }

    private void Keep(ReadOnlySpan<byte> printed)
    {
        lock (_gate)
        {
            ReadOnlySpan<byte> kept = _last;
            _last = [.. kept[Math.Max(0, kept.Length + printed.Length - MostBytes)..], .. printed];
        }
    }
}
