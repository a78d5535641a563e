using System.Diagnostics;
using Microsoft.Win32.SafeHandles;

namespace Vhost.Tests.Support;

/// <summary>
/// The other owner of an eventfd, who keeps the counter full and sets and clears O_NONBLOCK without pause. Whoever signals asks for the flag first, and sooner
/// or later it changes between the question and the write, which then waits in the kernel. A counter that somebody has emptied is filled again at once.
/// </summary>
public sealed class FlippingOwner : IDisposable
{
    private readonly Thread _thread;
    private volatile bool _flipping = true;
    private volatile bool _ended;

    public FlippingOwner()
    {
        RawDescriptors.FillCounter(Descriptor);
        _thread = new Thread(Flip) { IsBackground = true };
        _thread.Start();
    }

    public SafeFileHandle Descriptor { get; } = RawDescriptors.BlockingEventFd();

    /// <summary>Lets a thread signal until it is held up in the kernel.</summary>
    /// <param name="signal">Signals a notifier over <see cref="Descriptor"/>, once.</param>
    /// <returns>The thread, which ends when it is let go.</returns>
    public Thread HoldUp(Action signal)
    {
        int calls = 0;
        bool heldUp = false;
        Thread thread = new(() =>
        {
            while (!Volatile.Read(ref heldUp))
            {
                signal();
                Interlocked.Increment(ref calls);
            }
        });
        thread.IsBackground = true;
        thread.Start();
        long started = Stopwatch.GetTimestamp();
        while (Stopwatch.GetElapsedTime(started) < TimeSpan.FromSeconds(30))
        {
            if (!Stands())
                continue;

            // With the flag at rest, a thread that was only slow goes on.
            _flipping = false;
            if (Stands() && Stands())
            {
                Volatile.Write(ref heldUp, true);
                return thread;
            }

            _flipping = true;
        }

        throw new TimeoutException("The signals were never held up.");

        bool Stands()
        {
            int before = Volatile.Read(ref calls);
            Thread.Sleep(50);
            return Volatile.Read(ref calls) == before;
        }
    }

    public void Dispose()
    {
        _ended = true;
        _thread.Join();
        Descriptor.Dispose();
    }

    private void Flip()
    {
        while (!_ended)
        {
            if (_flipping)
            {
                RawDescriptors.SetNonBlocking(Descriptor, nonBlocking: true);
                RawDescriptors.FillUp(Descriptor);
            }

            RawDescriptors.SetNonBlocking(Descriptor, nonBlocking: false);
            if (!_flipping)
                Thread.Sleep(1);
        }
    }
}
