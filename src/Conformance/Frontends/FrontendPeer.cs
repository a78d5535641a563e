using System.Diagnostics;
using System.Runtime.ExceptionServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>
/// The front-end as one case meets it: the case plays a back-end by <see cref="Script"/>, which answers from a task of its own, and waits for what the front-end does. A case changes the script
/// before it begins to play.
/// </summary>
internal sealed partial class FrontendPeer : IAsyncDisposable
{
    // All are kept until the case has ended.
    private const int MostMessages = 100_000;
    private const int MostSaid = 64 << 20;

    private readonly Conversation _main;
    private readonly SafeFileHandle _kernel;
    private readonly Dialogue _dialogue;
    private readonly Lock _gate = new();
    private readonly List<SaidMessage> _said = [];
    private readonly List<IDisposable> _owned = [];
    private readonly List<Conversation> _channels = [];
    private readonly CancellationTokenSource _stop = new();
    private readonly TouchedPages _touched;
    private Task _pump = Task.CompletedTask;
    private int _saidBytes;
    private Exception? _broken;

    /// <param name="connection">The connection of the case.</param>
    /// <param name="device">The kind of device that the suite plays.</param>
    /// <param name="dialogue">Where it is written down what is said.</param>
    /// <param name="patience">How long the run waits.</param>
    /// <param name="kernel">The way to the front-end's memory; see <see cref="LentMemory"/>. Borrowed.</param>
    /// <param name="mostMemory">Bytes of the front-end's memory that the case uses at most.</param>
    public FrontendPeer(VhostUserConnection connection, string device, Dialogue dialogue, Patience patience, SafeFileHandle kernel, ulong mostMemory)
    {
        (_dialogue, _kernel, _touched) = (dialogue, kernel, new TouchedPages(mostMemory));
        _main = new Conversation(connection, VhostUserChannel.Main, "main", dialogue, TimeSpan.FromHours(1));
        (Device, Patience, Script) = (device, patience, new BackendScript(device));
    }

    /// <summary>The kind of device that the suite plays.</summary>
    public string Device { get; }

    public BackendScript Script { get; }

    public Patience Patience { get; }

    /// <summary>How long a front-end is watched that may still do something: see <see cref="WatchOf"/>.</summary>
    public TimeSpan Watch => WatchOf(Patience);

    public Conversation Main => _main;

    /// <summary>What is negotiated now.</summary>
    public NegotiatedState State { get; private set; }

    /// <summary>In what allowed way the front-end has refused what this case said; null: it has not.</summary>
    public string? Refusal { get; private set; }

    /// <summary>Whether the front-end has ended the connection.</summary>
    public bool HasLeft => _pump.IsCompleted;

    /// <summary>Everything that the front-end has said until now.</summary>
    public SaidMessage[] Said
    {
        get
        {
            lock (_gate)
                return [.. _said];
        }
    }

    /// <summary>A fiftieth of the time that the run waits for what must come, so that it grows where all is slow; no less than any peer is watched.</summary>
    public static TimeSpan WatchOf(Patience patience) => patience.Answer / 50 is var part && part > patience.Quiet ? part : patience.Quiet;

    public void NoteRefusal(string came) => Refusal ??= came;

    public void Note(string text) => _dialogue.Note(text);

    /// <summary>Begins to answer.</summary>
    public void Play() => _pump = Task.Run(PumpAsync);

    /// <summary>Waits until something holds. A front-end that leaves before, or takes longer than the patience of the run, fails the case.</summary>
    public async Task UntilAsync(Func<bool> holds, string awaited)
    {
        if (!await HoldsAsync(holds).ConfigureAwait(false))
            throw Expect.Failed(awaited, HasLeft ? "the front-end ended the connection" : "it does not come to that");
    }

    /// <summary>Waits until something holds, the front-end leaves, or time is up. Whether it holds.</summary>
    public Task<bool> HoldsAsync(Func<bool> holds) => HoldsAsync(holds, Patience.Answer);

    /// <inheritdoc cref="HoldsAsync(Func{bool})"/>
    public async Task<bool> HoldsAsync(Func<bool> holds, TimeSpan time)
    {
        long begun = Stopwatch.GetTimestamp();
        while (true)
        {
            bool left = HasLeft, late = Stopwatch.GetElapsedTime(begun) > time;
            bool held = holds();
            ThrowIfBroken();
            if (held || left || late)
                return held;
            ServeRings();
            await Task.Delay(1).ConfigureAwait(false);
        }
    }

    /// <summary>Plays until the front-end has a ring enabled, running, and served once.</summary>
    public async Task ServedAsync()
    {
        Play();
        await UntilAsync(() => Served > 0, "a ring is started, and a request in it").ConfigureAwait(false);
    }

    /// <summary>What a hostile answer may lead to: the front-end goes on to its requests (PASS), ends the connection (REJECT), or waits.</summary>
    public async Task ToleratesAsync()
    {
        if (!await HoldsAsync(() => Served > 0).ConfigureAwait(false) && HasLeft)
            NoteRefusal("the front-end ended the connection");
    }

    /// <summary>Lets the front-end make of it what it will, for a time: ends the connection (REJECT), or goes on.</summary>
    public async Task MayLeaveAsync()
    {
        await HoldsAsync(() => HasLeft, 10 * Patience.Quiet).ConfigureAwait(false);
        if (HasLeft)
            NoteRefusal("the front-end ended the connection");
    }

    /// <summary>Speaks on a socket that the front-end has handed over for requests.</summary>
    public Conversation Channel(SafeFileHandle handed)
    {
        Conversation channel = new(VhostUserConnection.Adopt(Libc.Duplicate(handed)), VhostUserChannel.Backend, "back-end", _dialogue, Patience.Answer);
        lock (_gate)
            _channels.Add(channel);
        return channel;
    }

    public T Own<T>(T owned)
        where T : IDisposable
    {
        lock (_gate)
            _owned.Add(owned);
        return owned;
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        await _main.DisposeAsync().ConfigureAwait(false);
        await _pump.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        Forget();
        foreach (Conversation channel in _channels)
            await channel.DisposeAsync().ConfigureAwait(false);
        foreach (IDisposable owned in _owned)
            owned.Dispose();
        _stop.Dispose();
    }

    private async Task PumpAsync()
    {
        try
        {
            while (await _main.TryReceiveAsync("a message").ConfigureAwait(false) is { } message)
            {
                using (message)
                    await HandleAsync(message).ConfigureAwait(false);
            }
        }
        catch (ObjectDisposedException)
        {
            // The case has ended the connection.
        }
        catch (CaseEndedException ended)
        {
            _broken = ended;
        }
        catch (Exception failure) when (OwnFault.Is(failure))
        {
            _broken = failure;
        }
        catch (Exception failure) when (failure is VhostUserException or IOException or ArgumentException or OverflowException)
        {
            _broken = Unusable(failure);
        }
    }

    /// <summary>What ended the task that answers ends the case.</summary>
    private void ThrowIfBroken()
    {
        if (_broken is CaseEndedException ended)
            throw Expect.Failed(ended.Expected, ended.Came);
        if (_broken is { } own)
            ExceptionDispatchInfo.Throw(own);
    }

    private async Task HandleAsync(ReceivedMessage message)
    {
        lock (_gate)
        {
            Expect.That(_said.Count < MostMessages, $"at most {MostMessages} messages in one case", "more");
            _saidBytes += message.Payload.Length;
            Expect.That(_saidBytes <= MostSaid, $"messages of at most {MostSaid >> 20} MiB in one case", "more");
            _said.Add(new(message.Header, message.Payload, [.. message.Descriptors.Select(Look)], State));
        }

        if (Script.Instead is { } instead && await instead(this, message).ConfigureAwait(false))
            return;
        await AnswerAsync(message).ConfigureAwait(false);
    }

    private static CaseEndedException Unusable(Exception failure) => Expect.Failed("memory, rings and descriptors that can be used", failure.Message);

    private static SaidDescriptor Look(SafeFileHandle descriptor) => new(DescriptorInfo.IsEventFd(descriptor), DescriptorInfo.FileSize(descriptor));
}
