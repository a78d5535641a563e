using System.IO.Pipelines;
using System.Text;
using Microsoft.Extensions.Logging;

namespace Vhost.Backend;

/// <summary>
/// One port of a <see cref="ConsoleDevice"/>, as the application sees it: a pipe to read what the guest writes, and one to write what the guest reads. Both outlive guests: what one of them
/// has not taken yet waits for the next.
/// </summary>
/// <remarks>
/// <para>Back-pressure: while <see cref="Input"/> is not read the guest waits, and while the guest has no room a flush of <see cref="Output"/> does
/// (<see cref="ConsoleDeviceOptions.BufferSize"/>). An application that wants no more completes <see cref="Input"/>: what the guest writes is then thrown away.
/// After <see cref="Output"/> is completed the guest gets what is under way, and then nothing.</para>
/// <para>Threading: each pipe end is for one thread at a time, everything else for any.</para>
/// </remarks>
public sealed class ConsolePort : IDuplexPipe
{
    private readonly ConsoleControl _control;
    private readonly Pipe _fromGuest;
    private readonly Pipe _toGuest;
    private readonly ILogger _logger;
    private volatile bool _isOpen = true;
    private volatile bool _isGuestOpen;

    internal ConsolePort(int index, ConsolePortOptions options, int bufferSize, ConsoleControl control, ILogger logger)
    {
        Index = index;
        Name = options.Name;
        IsConsole = options.IsConsole;
        NameBytes = Name is null ? [] : Encoding.UTF8.GetBytes(Name);
        _control = control;
        _logger = logger;
        PipeOptions shape = new(pauseWriterThreshold: bufferSize, resumeWriterThreshold: bufferSize / 2, useSynchronizationContext: false);
        _fromGuest = new Pipe(shape);
        _toGuest = new Pipe(shape);
        Inlet = new ConsoleInlet(_fromGuest.Writer);
        Outlet = new ConsoleOutlet(_toGuest.Reader);
    }

    /// <summary>Raised when <see cref="IsGuestOpen"/> changed, on the thread that noticed; the handler must not wait.</summary>
    public event EventHandler? GuestOpenChanged;

    /// <summary>Which port of the device this is, from 0.</summary>
    public int Index { get; }

    /// <summary>Its name; null: none.</summary>
    public string? Name { get; }

    /// <summary>Whether it is a console.</summary>
    public bool IsConsole { get; }

    /// <summary>What the guest writes.</summary>
    public PipeReader Input => _fromGuest.Reader;

    /// <summary>What the guest reads.</summary>
    public PipeWriter Output => _toGuest.Writer;

    /// <summary>
    /// Whether the application's side is open, from the start. A driver of several ports is told (VIRTIO_CONSOLE_PORT_OPEN) and lets nobody write to a closed one.
    /// </summary>
    public bool IsOpen
    {
        get => _isOpen;
        set
        {
            _isOpen = value;
            _control.Tell(Index, ConsoleNews.Open);
        }
    }

    /// <summary>
    /// Whether the guest's side is open: a driver of several ports has said so, another one has started the port. Bytes for the guest wait until it is.
    /// </summary>
    public bool IsGuestOpen => _isGuestOpen;

    /// <summary>Bytes that the guest has written.</summary>
    public long BytesFromGuest => Inlet.Bytes;

    /// <summary>Bytes that the guest was given.</summary>
    public long BytesToGuest => Outlet.Bytes;

    internal ConsoleInlet Inlet { get; }

    internal ConsoleOutlet Outlet { get; }

    /// <summary><see cref="Name"/> as it is sent.</summary>
    internal byte[] NameBytes { get; }

    internal ConsoleSignal GuestOpenSignal { get; } = new();

    internal void SetGuestOpen(bool open)
    {
        if (_isGuestOpen == open)
            return;
        _isGuestOpen = open;
        GuestOpenSignal.Raise();
        try
        {
            GuestOpenChanged?.Invoke(this, EventArgs.Empty);
        }
        catch (Exception e)
        {
            BackendLog.DeviceFailed(_logger, e);
        }
    }

    /// <summary>Serves the guest's transmit queue of this port.</summary>
    internal async Task FromGuestAsync(ApplicationQueue queue, CancellationToken stop)
    {
        while (!queue.IsStopped)
        {
            await Inlet.RoomAsync(stop).ConfigureAwait(false);
            if (TakeFromGuest(queue))
                await Task.Yield();
            else
                await queue.WaitAsync(stop).ConfigureAwait(false);
        }
    }

    /// <summary>Serves the guest's receive queue of this port.</summary>
    internal async Task ToGuestAsync(ApplicationQueue queue, CancellationToken stop)
    {
        Func<bool> isOpen = () => IsGuestOpen;
        bool more = true;
        while (more && !queue.IsStopped)
        {
            Task change = GuestOpenSignal.Next;
            if (IsGuestOpen)
                more = await Outlet.GiveAsync(queue, isOpen, stop).ConfigureAwait(false);
            else
                await change.WaitAsync(stop).ConfigureAwait(false);
        }
    }

    private bool TakeFromGuest(ApplicationQueue queue)
    {
        if (!queue.TryEnter(out DeviceVirtqueue? ring))
            return false;
        try
        {
            return Inlet.Take(ring);
        }
        finally
        {
            queue.Exit();
        }
    }
}
