using System.Diagnostics;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>
/// A driver that always has 64 requests out, and keeps memory, ring and in-flight region while one back-end after the other is killed. It knows in which life each request
/// came back.
/// </summary>
internal sealed class CrashDriver : IAsyncDisposable
{
    private const ushort Entries = 2 * RecordingDevice.Depth;
    private const ulong Data = 0x8_0000;

    /// <summary>A process that has died does not call.</summary>
    private static readonly TimeSpan _longestSleep = TimeSpan.FromMilliseconds(10);

    private readonly VirtioFeatures _features;
    private readonly GuestMemory _memory = GuestRam.Create(1 << 20);
    private readonly GuestMemoryLease _lease;
    private readonly EventNotifier _kick = new();
    private readonly EventNotifier _call = new();
    private readonly VhostUserListener _listener;
    private readonly DriverVirtqueue _ring;
    private readonly DriverCompletion[] _ended = new DriverCompletion[Entries];

    /// <summary>For each slot the request that is out; null when it is free.</summary>
    private readonly ulong?[] _out = new ulong?[RecordingDevice.Depth];
    private readonly Dictionary<ulong, int> _slotOf = [];

    /// <summary>For each request that came back, in which life: the index is its name.</summary>
    private readonly List<int> _endedIn = [];
    private InflightRegion? _region;
    private VhostUserFrontend? _session;
    private ulong _next;

    internal CrashDriver(string socketPath, VirtioFeatures ring)
    {
        _features = ring | VirtioFeatures.Version1 | VirtioFeatures.EventIndex;
        _lease = _memory.Acquire();
        _listener = VhostUserListener.Listen(socketPath);
        _ring = DriverVirtqueue.Create(_memory, default, new DriverVirtqueueOptions { Size = Entries }, _features);
    }

    /// <summary>Requests that came back.</summary>
    internal int Ended { get; private set; }

    /// <summary>For each request that was ever made, the life in which it came back; 0: it did not.</summary>
    internal IReadOnlyList<int> EndedIn => _endedIn;

    /// <summary>Lets the back-end that is next in line serve the ring. False: it did not live to.</summary>
    internal async Task<bool> TryStartAsync()
    {
        try
        {
            _session = await VhostUserFrontend.AcceptAsync(_listener, new VhostUserFrontendOptions { RequiredProtocolFeatures = VhostUserProtocolFeatures.InflightShmFd }).InTime();
            await _session.SetFeaturesAsync(_features | VirtioFeatures.VhostUserProtocolFeatures);
            await _session.SetMemoryAsync(_memory);
            _region ??= await _session.CreateInflightRegionAsync(1, Entries);
            await _session.UseInflightRegionAsync(_region!);
            await _session.StartVringAsync(_ring.Describe(0, _kick, _call));
            return true;
        }
        catch (VhostUserDisconnectedException)
        {
            return false;
        }
    }

    /// <summary>Collects what came back and makes as many new requests.</summary>
    /// <param name="life">The process that serves the ring, or did last.</param>
    /// <param name="submits">Whether new ones are made.</param>
    private void Turn(int life, bool submits)
    {
        int count = _ring.Drain(_ended);
        _ring.Fault.Should().Be(VirtqueueFault.None, _ring.FaultDetail);
        foreach (DriverCompletion one in _ended.AsSpan(0, count))
            End(one, life);
        for (int slot = 0; submits && slot < _out.Length; slot++)
        {
            if (_out[slot] is null)
                Submit(slot);
        }

        if (_ring.Publish())
            _kick.Signal();
    }

    /// <summary>Leaves the processors to the device until it calls.</summary>
    private void Sleep()
    {
        if (_ring.ArmCall())
            _call.Wait(_longestSleep);
        _call.TryConsume();
    }

    /// <summary>Turns until something holds, or nothing has come back for a long time.</summary>
    internal void TurnUntil(int life, Func<bool> holds, bool submits = true)
    {
        (long since, int before) = (Stopwatch.GetTimestamp(), Ended);
        while (!holds())
        {
            Turn(life, submits);
            if (Ended != before)
                (since, before) = (Stopwatch.GetTimestamp(), Ended);
            else if (Stopwatch.GetElapsedTime(since) > Eventually.Deadline)
                throw new TimeoutException($"Life {life}: {_ring.InFlight} requests do not come back.");
            else
                Sleep();
        }
    }

    /// <summary>The process is gone: what it had shown is collected before the next one may do anything.</summary>
    internal async Task AfterDeathAsync(int life)
    {
        Turn(life, submits: false);
        if (_session is { } session)
            await session.DisposeAsync();
        _session = null;
    }

    internal void Finish(int life)
    {
        TurnUntil(life, () => _ring.InFlight == 0, submits: false);
        _slotOf.Should().BeEmpty();
    }

    public async ValueTask DisposeAsync()
    {
        if (_session is { } session)
            await session.DisposeAsync();
        await _listener.DisposeAsync();
        _region?.Dispose();
        _ring.Dispose();
        _lease.Dispose();
        _memory.Dispose();
        _kick.Dispose();
        _call.Dispose();
    }

    private void End(in DriverCompletion one, int life)
    {
        _slotOf.Remove(one.Token, out int slot).Should().BeTrue("request {0} comes back once", one.Token);
        one.BytesWritten.Should().Be(8);
        _lease.TryRead(Answer(slot), out ulong answer).Should().BeTrue();
        answer.Should().Be(RecordingDevice.AnswerTo(one.Token));
        _endedIn[(int)one.Token] = life;
        _out[slot] = null;
        Ended++;
    }

    private void Submit(int slot)
    {
        _lease.TryWrite(Question(slot), _next).Should().BeTrue();
        _lease.TryWrite(Answer(slot), 0UL).Should().BeTrue();
        _ring.TrySubmit([new GuestBuffer(Question(slot), 8)], [new GuestBuffer(Answer(slot), 8)], _next).Should().BeTrue();
        _out[slot] = _next;
        _slotOf.Add(_next++, slot);
        _endedIn.Add(0);
    }

    private static GuestAddress Question(int slot) => new(Data + (64 * (ulong)slot));

    private static GuestAddress Answer(int slot) => new(Data + (64 * (ulong)slot) + 8);
}
