using System.Globalization;
using System.Text;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>
/// One ring with both halves on it, and a model beside it that is nothing but lists of what is where. Every call is checked against the model; the two
/// promises about sleeping are checked too: whoever armed and was told that nothing is there is told of the next publication.
/// </summary>
internal sealed class ModelledRing : IDisposable
{
    private const ulong Data = 0x10_0000;

    private readonly GuestMemory _memory = GuestRam.Create(0x20_0000);
    private readonly DriverVirtqueue _driver;
    private readonly EventNotifier _call = new();
    private readonly VirtioFeatures _features;
    private DeviceVirtqueue _device;
    private Random _random = new(1);
    private readonly DriverVirtqueueOptions _options;
    private readonly Queue<ulong> _submitted = new();

    /// <summary>Of requests of one buffer of some bytes, whether the device writes it.</summary>
    private readonly Dictionary<ulong, bool> _singles = [];
    private readonly List<(ushort Head, ulong Token, uint Length)> _taken = [];
    private readonly Dictionary<ulong, uint> _completed = [];
    private readonly Dictionary<ulong, uint> _flushed = [];
    private readonly DriverCompletion[] _buffer = new DriverCompletion[3];
    private int _published;
    private ulong _nextToken;
    private bool _kickArmed;
    private bool _callArmed;

    public ModelledRing(int size, VirtioFeatures features, int indirect)
    {
        _options = new DriverVirtqueueOptions { Size = (ushort)size, IndirectBuffers = indirect };
        _driver = DriverVirtqueue.Create(_memory, default, _options, features);
        _features = features;
        _device = Activate(_memory, _driver, features, _call);
    }

    public static DeviceVirtqueue Activate(GuestMemory memory, DriverVirtqueue driver, VirtioFeatures features, EventNotifier call)
    {
        using EventNotifier kick = new();
        VringSettings described = driver.Describe(0, kick, call);
        VirtqueueSetup setup = new(
            0,
            (uint)driver.Size,
            User(described.DescriptorTable),
            User(described.AvailableRing),
            User(described.UsedRing),
            described.Base!.Value.AvailableIndex,
            features);
        return DeviceVirtqueue.TryActivate(memory, setup, call, out _, out string why) ?? throw new InvalidOperationException(why);
    }

    private static UserAddress User(GuestAddress address) => new(address.Value + GuestRam.UserOffset);

    /// <summary>A fresh ring and an empty model.</summary>
    public void StartOver()
    {
        _device.Deactivate();
        _driver.Reset();
        _device = Activate(_memory, _driver, _features, _call);
        _random = new Random(1); // the same calls lead to the same state
        _submitted.Clear();
        _singles.Clear();
        _taken.Clear();
        _completed.Clear();
        _flushed.Clear();
        (_published, _nextToken, _kickArmed, _callArmed) = (0, 0, false, false);
        _call.TryConsume();
    }

    /// <summary>Makes one call. False when there is nothing to do for it, which leaves everything as it was.</summary>
    public bool TryDo(Step step)
    {
        switch (step)
        {
            case Step.SubmitReadable: return TrySubmit(Buffers(1), []);
            case Step.SubmitBoth: return (_driver.Size > 1 || _options.IndirectBuffers > 0) && TrySubmit(Buffers(1), Buffers(1));
            case Step.Publish when _submitted.Count > _published: Publish(); return true;
            case Step.Take when _published > 0: Take(); return true;
            case Step.CompleteOldest when _taken.Count > 0: Complete(0); return true;
            case Step.CompleteNewest when _taken.Count > 1: Complete(_taken.Count - 1); return true;
            case Step.Flush when _completed.Count > 0: Flush(); return true;
            case Step.Drain when _flushed.Count > 0: Drain(); return true;
            case Step.ArmKick: ArmKick(); return true;
            case Step.ArmCall: ArmCall(); return true;
            case Step.SubmitSingles: return SubmitSingles(deviceWrites: false);
            case Step.SubmitSinglesToWrite: return SubmitSingles(deviceWrites: true);
            case Step.Linear when _published > 0: Linear(deviceWrites: false, giveBack: 0); return true;
            case Step.LinearButLast when _published > 0: Linear(deviceWrites: false, giveBack: 1); return true;
            case Step.LinearToWrite when _published > 0: Linear(deviceWrites: true, giveBack: 0); return true;
            case Step.TakeAndGiveBack when _published > 0: TakeAndGiveBack(); return true;
            default: return false;
        }
    }

    /// <summary>All that can influence what comes next: both halves' private fields, the shared words, the model.</summary>
    public string State()
    {
        StringBuilder text = new();
        PrivateState.Append(text, _driver);
        PrivateState.Append(text, _device);
        using GuestMemoryLease lease = _memory.Acquire();
        byte[] words = new byte[DriverVirtqueue.SizeInBytes(_options, _features)];
        lease.TryCopyTo(default, words).Should().BeTrue();
        text.Append(Convert.ToHexString(words)).Append(CultureInfo.InvariantCulture, $"|{_published}|{_kickArmed}|{_callArmed}|");
        return text.AppendJoin(',', _submitted).Append('|').AppendJoin(',', _taken).Append('|').AppendJoin(',', _completed.Keys).Append('|').AppendJoin(',', _flushed.Keys).ToString();
    }

    public void Do(int call)
    {
        switch (call)
        {
            case 0: Submit(); break;
            case 1: Publish(); break;
            case 2: Take(); break;
            case 3: Complete(); break;
            case 4: Flush(); break;
            case 5: Drain(); break;
            default: Arm(); break;
        }
    }

    public void Finish()
    {
        while (_submitted.Count + _taken.Count + _completed.Count + _flushed.Count > 0)
        {
            Publish();
            Take();
            Complete();
            Flush();
            Drain();
        }

        _driver.InFlight.Should().Be(0);
        _device.InFlight.Should().Be(0);
        _driver.FreeDescriptors.Should().Be(_driver.Size);
        _driver.Fault.Should().Be(VirtqueueFault.None, _driver.FaultDetail);
        _device.Fault.Should().Be(VirtqueueFault.None, _device.FaultDetail);
    }

    public void Dispose()
    {
        _device.Deactivate();
        _driver.Dispose();
        _call.Dispose();
        _memory.Dispose();
        _memory.Released.IsCompleted.Should().BeTrue();
    }

    private void Submit()
    {
        int count = _random.Next(1, Math.Min(_driver.Size, 4) + 1);
        int writable = _random.Next(0, count + 1);
        TrySubmit(Buffers(count - writable), Buffers(writable));
    }

    private bool TrySubmit(GuestBuffer[] readable, GuestBuffer[] writable)
    {
        bool submitted = _driver.TrySubmit(readable, writable, _nextToken);
        if (submitted)
        {
            if (readable.Length + writable.Length == 1)
                Note(readable.Length == 1 ? readable[0] : writable[0], deviceWrites: writable.Length == 1);
            _submitted.Enqueue(_nextToken++);
        }

        return submitted;
    }

    private void Note(GuestBuffer buffer, bool deviceWrites)
    {
        if (buffer.Length > 0)
            _singles.Add(_nextToken, deviceWrites);
    }

    private bool SubmitSingles(bool deviceWrites)
    {
        GuestBuffer[] buffers = Buffers(2);
        int submitted = _driver.SubmitBurst(buffers, deviceWrites, [_nextToken, _nextToken + 1]);
        for (int i = 0; i < submitted; i++)
        {
            Note(buffers[i], deviceWrites);
            _submitted.Enqueue(_nextToken++);
        }

        return submitted > 0;
    }

    private void Linear(bool deviceWrites, int giveBack)
    {
        int expected = _device.Fetched > 0 ? 0 : _submitted.Take(_published).TakeWhile(token => _singles.TryGetValue(token, out bool writes) && writes == deviceWrites).Count();
        Span<LinearChain> chains = _device.LinearChains;
        int count = _device.TakeLinear(chains, deviceWrites, out bool isOther);
        count.Should().Be(expected);
        isOther.Should().Be(expected < _published);
        giveBack = Math.Min(giveBack, count);
        _device.GiveBackLinear(chains[(count - giveBack)..count]);
        count -= giveBack;
        uint[] lengths = new uint[deviceWrites ? count : 0];
        for (int i = 0; i < count; i++)
        {
            if (deviceWrites)
                lengths[i] = chains[i].Length;
            _completed.Add(_submitted.Dequeue(), deviceWrites ? lengths[i] : 0);
        }

        _device.CompleteLinear(chains[..count], lengths);
        _published -= count;
    }

    private void TakeAndGiveBack()
    {
        ChainBurst burst = _device.TakeBurst();
        burst.Count.Should().BeInRange(1, _published);
        _device.GiveBack(burst.Count);
    }

    private void Publish()
    {
        int before = _published;
        _published = _submitted.Count;
        bool kick = _driver.Publish();
        if (_kickArmed && _published > before)
        {
            kick.Should().BeTrue("the device armed its kick and sleeps");
            _kickArmed = false;
        }
    }

    private void Take()
    {
        bool popped = _device.TryPop(out DescriptorChain chain);
        popped.Should().Be(_published > 0);
        if (popped)
        {
            _published--;
            _taken.Add((chain.Head, _submitted.Dequeue(), chain.Writable.Length));
        }
    }

    private void Complete()
    {
        if (_taken.Count > 0)
        {
            Complete(_random.Next(_taken.Count));
        }
    }

    private void Complete(int which)
    {
        (ushort head, ulong token, uint length) = _taken[which];
        _taken.RemoveAt(which);
        _device.Complete(head, length);
        _completed.Add(token, length);
    }

    private void Flush()
    {
        int inFlight = _device.InFlight;
        _device.Flush();
        int shown = inFlight - _device.InFlight;
        bool called = _call.TryConsume();
        if (_callArmed && shown > 0)
        {
            called.Should().BeTrue("the driver armed its call and sleeps");
            _callArmed = false;
        }

        foreach ((ulong token, uint length) in _completed)
        {
            _flushed.Add(token, length);
        }

        _completed.Clear();
    }

    private void Drain()
    {
        int count = _driver.Drain(_buffer);
        _callArmed &= count == 0;
        for (int i = 0; i < count; i++)
        {
            _flushed.Remove(_buffer[i].Token, out uint length).Should().BeTrue("token {0} was completed once", _buffer[i].Token);
            _buffer[i].BytesWritten.Should().Be(length);
            _buffer[i].LengthClamped.Should().BeFalse();
        }
    }

    private void Arm()
    {
        ArmKick();
        ArmCall();
    }

    private void ArmKick()
    {
        _kickArmed = _device.ArmKick();
        _kickArmed.Should().Be(_published == 0);
    }

    private void ArmCall()
    {
        _callArmed = _driver.ArmCall();
        _call.TryConsume();
    }

    private GuestBuffer[] Buffers(int count) =>
        [.. Enumerable.Range(0, count).Select(i => new GuestBuffer(new GuestAddress(Data + ((ulong)i * 4096)), (uint)_random.Next(0, 600)))];
}
