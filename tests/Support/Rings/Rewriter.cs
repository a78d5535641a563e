namespace Vhost.Tests.Support;

/// <summary>A thread that writes into shared memory without pause, as a hostile owner does while the other side reads.</summary>
public sealed class Rewriter : IDisposable
{
    private readonly Thread _thread;
    private volatile bool _stop;

    /// <summary>Starts it.</summary>
    /// <param name="rewrite">One turn, with random bits of its own.</param>
    public Rewriter(Action<ulong> rewrite)
    {
        ArgumentNullException.ThrowIfNull(rewrite);
        rewrite(0);
        _thread = new Thread(() =>
        {
            ulong random = 0x9E3779B97F4A7C15;
            while (!_stop)
            {
                // xorshift64
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                rewrite(random);
            }
        });
        _thread.IsBackground = true;
        _thread.Start();
    }

    public void Dispose()
    {
        _stop = true;
        _thread.Join();
    }
}
