using System.Diagnostics;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>
/// A well-behaved front-end with a back-end and a socket of its own, in this process. It measures how long its requests and messages take while
/// something else goes on.
/// </summary>
internal sealed class Bystander : IAsyncDisposable
{
    private const int WarmUp = 50;

    /// <summary>The promise is a tenth of a second; a busy machine is given half of one.</summary>
    private static readonly TimeSpan _longestStall = TimeSpan.FromMilliseconds(500);

    private static readonly TimeSpan _pause = TimeSpan.FromMilliseconds(2);

    private readonly TempSocket _socket = new();
    private readonly CancellationTokenSource _stop = new();
    private readonly TestGuest _guest = new(slot: 9);
    private readonly TestRing _ring;
    private readonly VhostUserBackend _backend = new(new EchoDevice());
    private readonly Task _serving;
    private readonly TaskCompletionSource<(int Count, TimeSpan Worst)> _measured = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private RawFrontend? _frontend;
    private volatile bool _enough;

    private Bystander()
    {
        _ring = new TestRing(_guest, 0);
        _serving = _backend.ListenAsync(_socket.Path, _stop.Token);
    }

    /// <summary>Lets a storm rage and checks that the bystander did not notice.</summary>
    public static async Task WatchAsync(Func<Task> storm)
    {
        await using Bystander bystander = new();
        await bystander.StartAsync();
        await storm();
        bystander._enough = true;
        (int count, TimeSpan worst) = await bystander._measured.Task.WaitAsync(TimeSpan.FromSeconds(30));
        count.Should().BePositive();
        worst.Should().BeLessThan(_longestStall, "a front-end on another socket is not held up ({0} exchanges)", count);
    }

    public async ValueTask DisposeAsync()
    {
        _enough = true;
        // A failure of the measurement has been reported by then.
        await ((Task)_measured.Task).WaitAsync(TimeSpan.FromSeconds(30)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await _frontend!.DisposeAsync();
        await _stop.CancelAsync();
        await _serving.WaitAsync(TimeSpan.FromSeconds(20));
        await _backend.DisposeAsync();
        _ring.Dispose();
        _guest.Dispose();
        _socket.Dispose();
        _stop.Dispose();
    }

    private async Task StartAsync()
    {
        _frontend = await RawFrontend.ConnectAsync(_socket.Path);
        await _frontend.NegotiateAsync();
        await _frontend.AddMemoryAsync(_guest);
        await _frontend.StartAsync(_ring);
        for (int i = 0; i < WarmUp; i++)
            Exchange((byte)i);
        // A thread of its own: what the test itself does on the thread pool must not look like a stall.
        new Thread(Measure) { IsBackground = true, Name = "bystander" }.Start();
    }

    private void Measure()
    {
        try
        {
            TimeSpan worst = TimeSpan.Zero;
            int count = 0;
            while (!_enough)
            {
                Stopwatch clock = Stopwatch.StartNew();
                Exchange((byte)count++);
                worst = clock.Elapsed > worst ? clock.Elapsed : worst;
                Thread.Sleep(_pause);
            }

            _measured.SetResult((count, worst));
        }
        catch (Exception e)
        {
            _measured.SetException(e);
        }
    }

    /// <summary>A request on the ring, and now and then a message.</summary>
    private void Exchange(byte number)
    {
        _ring.EchoBlocking(number);
        if (number % 8 == 0)
            _frontend!.BarrierAsync().GetAwaiter().GetResult();
    }
}
