using System.Diagnostics;
using System.Diagnostics.CodeAnalysis;
using Vhost.Protocol;

namespace Vhost.Backend.Tests;

/// <summary>
/// A well-behaved front-end with a back-end and a connection of its own, in this process and for all tests. While somebody watches, it measures how long its
/// requests and messages take; two threads that have nothing to do with the library measure how long waking each other takes meanwhile.
/// </summary>
[SuppressMessage("Design", "CA1001", Justification = "One for the process, until its end.")]
internal sealed class Bystander
{
    private const int WarmUp = 50;

    /// <summary>
    /// How much longer than what is promised it may take before a test fails, for machines that are busy with something else; a stall of the threads without the library counts as often, since a
    /// request wakes several threads one after the other. What is really held up, is for seconds.
    /// </summary>
    private const int Slack = 5;

    /// <summary>What is promised.</summary>
    private static readonly TimeSpan _longestStall = TimeSpan.FromMilliseconds(100);

    private static readonly Lazy<Task<Bystander>> _shared = new(StartAsync);

    private readonly TestGuest _guest = new(slot: 9);
    private readonly TestRing _ring;
    private readonly RawFrontend _frontend;
    private readonly EventNotifier _ping = new();
    private readonly EventNotifier _pong = new();
    private readonly Stalls _library;
    private readonly Stalls _machine;

    private Bystander(RawFrontend frontend)
    {
        _frontend = frontend;
        _ring = new TestRing(_guest, 0);
        _library = new Stalls("bystander", Exchange);
        _machine = new Stalls("bare threads", PingPong);
    }

    /// <summary>Begins to measure; ended by <see cref="Check"/> or <see cref="End"/>.</summary>
    public static async Task<Bystander> WatchAsync()
    {
        Bystander bystander = await _shared.Value;
        bystander._library.Begin();
        bystander._machine.Begin();
        return bystander;
    }

    /// <summary>Ends measuring.</summary>
    public void End()
    {
        _library.End();
        _machine.End();
    }

    /// <summary>Ends measuring and checks that the bystander noticed nothing, beyond what any thread on this machine did.</summary>
    public void Check()
    {
        (int count, TimeSpan worst) = _library.End();
        (_, TimeSpan machine) = _machine.End();
        worst.Should().BeLessThan(
            (_longestStall + machine) * Slack, "a front-end on another socket is not held up ({0} exchanges, bare threads {1:0} ms)", count, machine.TotalMilliseconds);
    }

    private static async Task<Bystander> StartAsync()
    {
        (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
        VhostUserBackend backend = new(new EchoDevice());
        _ = backend.ServeAsync(back);
        Bystander bystander = new(new RawFrontend(front));
        await bystander._frontend.NegotiateAsync();
        await bystander._frontend.AddMemoryAsync(bystander._guest);
        await bystander._frontend.StartAsync(bystander._ring);
        for (int i = 0; i < WarmUp; i++)
            bystander.Exchange(i);
        new Thread(bystander.Answer) { IsBackground = true, Name = "bare thread" }.Start();
        return bystander;
    }

    /// <summary>A request on the ring, and now and then a message.</summary>
    private void Exchange(int number)
    {
        _ring.EchoBlocking((byte)number);
        if (number % 8 == 0)
            _frontend.BarrierAsync().GetAwaiter().GetResult();
    }

    private void PingPong(int number)
    {
        _ping.Signal();
        _pong.Wait(Timeout.InfiniteTimeSpan);
        _pong.TryConsume();
    }

    private void Answer()
    {
        while (true)
        {
            _ping.Wait(Timeout.InfiniteTimeSpan);
            _ping.TryConsume();
            _pong.Signal();
        }
    }

    /// <summary>Does something again and again on a thread of its own, while somebody watches, and keeps the longest time it took.</summary>
    [SuppressMessage("Design", "CA1001", Justification = "As above.")]
    private sealed class Stalls
    {
        private static readonly TimeSpan _pause = TimeSpan.FromMilliseconds(2);

        private readonly Lock _gate = new();
        private readonly ManualResetEventSlim _watched = new();
        private readonly Action<int> _exchange;
        private int _watchers;
        private int _count;
        private TimeSpan _worst;
        private Exception? _failure;

        public Stalls(string name, Action<int> exchange)
        {
            _exchange = exchange;
            new Thread(Measure) { IsBackground = true, Name = name }.Start();
        }

        public void Begin()
        {
            lock (_gate)
            {
                if (_watchers++ == 0)
                    (_count, _worst) = (0, TimeSpan.Zero);
                _watched.Set();
            }
        }

        /// <summary>Waits for what is under way, which counts too.</summary>
        public (int Count, TimeSpan Worst) End()
        {
            lock (_gate)
            {
                if (--_watchers == 0)
                    _watched.Reset();
                return _failure is null ? (_count, _worst) : throw new InvalidOperationException("The bystander is not served any more.", _failure);
            }
        }

        private void Measure()
        {
            for (int i = 0; _failure is null; i++)
            {
                _watched.Wait();
                lock (_gate)
                {
                    long began = Stopwatch.GetTimestamp();
                    try
                    {
                        _exchange(i);
                    }
                    catch (Exception e)
                    {
                        _failure = e;
                    }

                    TimeSpan took = Stopwatch.GetElapsedTime(began);
                    _worst = took > _worst ? took : _worst;
                    _count++;
                }

                Thread.Sleep(_pause);
            }
        }
    }
}
