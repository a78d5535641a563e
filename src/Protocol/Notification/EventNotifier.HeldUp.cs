using System.Diagnostics;

namespace Vhost.Protocol;

/// <summary>Threads that the other owner of the descriptor holds up in a write.</summary>
public sealed partial class EventNotifier
{
    /// <summary>How long the watch empties the counter of one notifier in a row.</summary>
    private static readonly TimeSpan _longestRelease = TimeSpan.FromMilliseconds(5);

    /// <summary>Threads inside of a write.</summary>
    private int _signalling;

    /// <summary>Writes that have ended; it goes round.</summary>
    private uint _writes;

    /// <summary>What the watch saw last.</summary>
    private uint _seenWrites;
    private bool _seenSignalling;

    private bool _isWatched;
    private volatile bool _isGivenUp;

    /// <summary>Whoever signalled was held up, so nobody signals any more.</summary>
    internal bool IsGivenUp => _isGivenUp;

    internal bool IsDisposed => _disposed;

    /// <summary>Nobody lets threads go but <see cref="Dispose"/>. For tests.</summary>
    internal bool IsUnwatched
    {
        init => _isWatched = value;
    }

    /// <summary>Lets go whoever has been inside the same write since the last look. By the watch alone.</summary>
    /// <returns>Whether there was anything to see since then.</returns>
    internal bool LookAtSignallers()
    {
        uint writes = Volatile.Read(ref _writes);
        bool signalling = Volatile.Read(ref _signalling) != 0;
        bool moved = writes != _seenWrites;
        if (signalling && _seenSignalling && !moved)
            LetSignallersGo();
        (_seenWrites, _seenSignalling) = (writes, signalling);
        return signalling || moved;
    }

    private void BeginWrite()
    {
        if (_shared && !_isWatched && !Interlocked.Exchange(ref _isWatched, true)) SignalWatch.Shared.Add(this);
        Interlocked.Increment(ref _signalling);
        if (_shared) SignalWatch.Shared.LookSoon();
    }

    private void EndWrite()
    {
        Volatile.Write(ref _writes, _writes + 1); // of two at once one may be lost, which is still a move
        Interlocked.Decrement(ref _signalling);
    }

    /// <summary>
    /// The peer may fill the counter again as fast as it can, and the thread has to look while there is room: so it is emptied without pause. An honest counter is never full.
    /// </summary>
    private void LetSignallersGo()
    {
        try
        {
            if (HasRoom() || !Consume(trustsFlags: false)) return; // only slow; or a pipe, of which we have the end that cannot be read
            _isGivenUp = _isForeign;
            long started = Stopwatch.GetTimestamp();
            while (Volatile.Read(ref _signalling) != 0 && Stopwatch.GetElapsedTime(started) < _longestRelease) Consume(trustsFlags: false);
        }
        catch (ObjectDisposedException)
        {
            // Who disposes it lets go whoever is inside.
        }
    }

    /// <summary>
    /// A thread may wait in the kernel for room in a full counter, and the descriptor lives as long as it does. No honest counter is ever full, so nothing is
    /// lost by emptying it; a peer that fills it again at once has to win each time.
    /// </summary>
    private void ReleaseSignallers()
    {
        const int Tries = 100, AtOnce = 10;
        for (int i = 0; i < Tries && Volatile.Read(ref _signalling) != 0; i++)
        {
            if (!HasRoom()) Consume(trustsFlags: false);
            Thread.Sleep(i < AtOnce ? 0 : 1);
        }
    }
}
