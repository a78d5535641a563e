using System.Numerics;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>The control queues of a console device (virtio 1.2, 5.3.6.2): what the driver says about its ports, and what it is told about them.</summary>
/// <remarks>Threading: any thread.</remarks>
internal sealed class ConsoleControl
{
    /// <summary>Each message is a turn, and others wait for the thread.</summary>
    private const int MostPerTurn = 64;

    private readonly Lock _gate = new();
    private readonly ConsoleSignal _news = new();
    private ConsolePort[] _ports = [];

    /// <summary>For each port what the driver is to be told.</summary>
    private ConsoleNews[] _pending = [];

    /// <summary>For each port whether the driver has it ready.</summary>
    private bool[] _ready = [];

    private bool _multiPort;
    private bool _offersSize;
    private ConsoleSize _size;
    private long _refused;

    /// <summary>Messages that made no sense: too short, of no port, or of no such event.</summary>
    internal long Refused => Volatile.Read(ref _refused);

    internal ConsoleSize Size
    {
        get
        {
            lock (_gate)
                return _size;
        }

        set
        {
            lock (_gate)
                _size = value;
            Tell(0, ConsoleNews.Resize);
        }
    }

    internal void Open(ConsolePort[] ports, ConsoleSize? size)
    {
        _ports = ports;
        _pending = new ConsoleNews[ports.Length];
        _ready = new bool[ports.Length];
        _offersSize = size is not null;
        _size = size ?? default;
    }

    /// <summary>Starts over with another driver. No queue runs.</summary>
    internal void Reset(bool multiPort)
    {
        lock (_gate)
        {
            _multiPort = multiPort;
            Array.Clear(_pending);
            Array.Clear(_ready);
        }
    }

    /// <summary>Whether the driver has a port ready, and what it is to be told.</summary>
    internal (bool IsReady, ConsoleNews Pending) PortState(int port)
    {
        lock (_gate)
            return (_ready[port], _pending[port]);
    }

    /// <summary>Goes on with a port where another device was, after <see cref="Reset"/>.</summary>
    internal void Restore(int port, bool isReady, ConsoleNews pending)
    {
        lock (_gate)
            (_ready[port], _pending[port]) = (isReady, pending);
        _news.Raise();
    }

    /// <summary>Tells the driver of a port that it has made ready; another one hears of it when it has.</summary>
    internal void Tell(int port, ConsoleNews news)
    {
        lock (_gate)
        {
            if (!_multiPort || !_ready[port] || (news == ConsoleNews.Resize && !(_offersSize && _ports[port].IsConsole)))
                return;
            _pending[port] |= news;
        }

        _news.Raise();
    }

    /// <summary>Serves the queue on which the driver hears.</summary>
    internal async Task ToGuestAsync(ApplicationQueue queue, CancellationToken stop)
    {
        while (!queue.IsStopped)
        {
            Task news = _news.Next;
            if (!HasNews())
                await news.WaitAsync(stop).ConfigureAwait(false);
            else if (Enter(queue, Give))
                await Task.Yield();
            else
                await queue.WaitAsync(stop).ConfigureAwait(false);
        }
    }

    /// <summary>Serves the queue on which the driver speaks.</summary>
    internal async Task FromGuestAsync(ApplicationQueue queue, CancellationToken stop)
    {
        while (!queue.IsStopped)
        {
            if (Enter(queue, Take))
                await Task.Yield();
            else
                await queue.WaitAsync(stop).ConfigureAwait(false);
        }
    }

    /// <summary>Hears what the driver has said so far.</summary>
    /// <returns>Whether there may be more.</returns>
    internal bool Take(DeviceVirtqueue queue)
    {
        Span<byte> head = stackalloc byte[VirtioConsoleControl.Size];
        for (int turn = 0; turn < MostPerTurn; turn++)
        {
            if (!queue.TryPop(out DescriptorChain chain))
                return false;
            int length = chain.Readable.CopyTo(head);
            if (!VirtioConsoleControl.TryRead(head[..length], out VirtioConsoleControl message) || !TryHear(message))
                Interlocked.Increment(ref _refused);
            queue.Complete(chain, 0);
        }

        return true;
    }

    /// <summary>Tells the driver what it has room for. A buffer that is too small for its message comes back empty.</summary>
    /// <returns>Whether there was room for all that was looked at.</returns>
    internal bool Give(DeviceVirtqueue queue)
    {
        Span<byte> bytes = stackalloc byte[VirtioConsoleControl.Size + VirtioConsoleControl.MaxName];
        for (int turn = 0; turn < MostPerTurn && HasNews(); turn++)
        {
            if (!queue.TryPop(out DescriptorChain chain))
                return false;
            int written = 0;
            lock (_gate)
            {
                if (TryCompose(bytes, out int port, out ConsoleNews news, out int least, out int length) && chain.Writable.Length >= (uint)least)
                {
                    written = chain.Writable.CopyFrom(bytes[..length]);
                    _pending[port] &= ~news;
                }
            }

            queue.Complete(chain, (uint)written);
        }

        return true;
    }

    private static bool Enter(ApplicationQueue queue, Func<DeviceVirtqueue, bool> serve)
    {
        if (!queue.TryEnter(out DeviceVirtqueue? ring))
            return false;
        try
        {
            return serve(ring);
        }
        finally
        {
            queue.Exit();
        }
    }

    private bool HasNews()
    {
        lock (_gate)
            return Array.Exists(_pending, news => news != ConsoleNews.None);
    }

    private bool TryHear(in VirtioConsoleControl message)
    {
        if (message.Event == VirtioConsoleEvent.DeviceReady)
            return TryHearReady(message.Value);
        if (message.Port >= (uint)_ports.Length)
            return false;
        int port = (int)message.Port;
        switch (message.Event)
        {
            case VirtioConsoleEvent.PortReady:
                HearPortReady(port, message.Value != 0);
                return true;
            case VirtioConsoleEvent.PortOpen:
                _ports[port].SetGuestOpen(message.Value != 0);
                return true;
            default:
                return false;
        }
    }

    private bool TryHearReady(ushort value)
    {
        if (value == 0)
            return true; // the driver has failed, and says no more
        lock (_gate)
        {
            for (int i = 0; i < _pending.Length; i++)
                _pending[i] |= ConsoleNews.Add;
        }

        _news.Raise();
        return true;
    }

    private void HearPortReady(int port, bool ready)
    {
        ConsoleNews all = ConsoleNews.Open;
        if (_ports[port].IsConsole)
            all |= ConsoleNews.Console | (_offersSize && port == 0 ? ConsoleNews.Resize : ConsoleNews.None);
        if (_ports[port].NameBytes.Length > 0)
            all |= ConsoleNews.Name;
        lock (_gate)
        {
            _ready[port] = ready;
            _pending[port] = ready ? _pending[port] | all : ConsoleNews.None;
        }

        _news.Raise();
    }

    /// <summary>The first message that the driver has not heard. Under the lock.</summary>
    private bool TryCompose(Span<byte> bytes, out int port, out ConsoleNews news, out int least, out int length)
    {
        port = Array.FindIndex(_pending, pending => pending != ConsoleNews.None);
        news = ConsoleNews.None;
        least = length = VirtioConsoleControl.Size;
        if (port < 0)
            return false;
        news = (ConsoleNews)(1 << BitOperations.TrailingZeroCount((int)_pending[port]));
        (VirtioConsoleEvent what, bool value) = news switch
        {
            ConsoleNews.Add => (VirtioConsoleEvent.DeviceAdd, true),
            ConsoleNews.Console => (VirtioConsoleEvent.ConsolePort, true),
            ConsoleNews.Name => (VirtioConsoleEvent.PortName, true),
            ConsoleNews.Resize => (VirtioConsoleEvent.Resize, false),
            _ => (VirtioConsoleEvent.PortOpen, _ports[port].IsOpen),
        };
        new VirtioConsoleControl((uint)port, what, value ? (ushort)1 : (ushort)0).Write(bytes);
        if (news == ConsoleNews.Resize)
        {
            VirtioConsoleControl.WriteSize(bytes, _size);
            least = length += VirtioConsoleControl.ResizeSize;
        }
        else if (news == ConsoleNews.Name)
        {
            _ports[port].NameBytes.CopyTo(bytes[length..]);
            length += _ports[port].NameBytes.Length;
        }

        return true;
    }
}
