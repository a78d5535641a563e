using System.IO.Pipelines;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>One port of a <see cref="ConsoleClient"/>: a pipe to read what the device sends, and one to write what it gets.</summary>
/// <remarks>
/// <para>While <see cref="Input"/> is not read the device waits, and while the device takes nothing a flush of <see cref="Output"/> does. When the client ends both ends do:
/// with the reason when it was lost, without one when it was disposed.</para>
/// <para>Threading: each pipe end is for one thread at a time, everything else for any.</para>
/// </remarks>
public sealed class ConsoleClientPort : IDuplexPipe
{
    private readonly ConsoleClientControl? _control;
    private readonly ConsoleReceiveRing _receiving;
    private readonly ConsoleSendRing _sending;
    private readonly Pipe _fromDevice;
    private readonly Pipe _toDevice;
    private readonly TaskCompletionSource _sent = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private TaskCompletionSource _opened = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Task _loops = Task.CompletedTask;

    internal ConsoleClientPort(int index, ConsoleReceiveRing receiving, ConsoleSendRing sending, ConsoleClientControl? control, int pipeSize)
    {
        Index = index;
        _receiving = receiving;
        _sending = sending;
        _control = control;
        PipeOptions shape = new(pauseWriterThreshold: pipeSize, resumeWriterThreshold: pipeSize / 2, useSynchronizationContext: false);
        _fromDevice = new Pipe(shape);
        _toDevice = new Pipe(shape);
        IsConsole = control is null;
        if (control is null)
            _opened.SetResult();
    }

    /// <summary>Which port of the device this is, from 0.</summary>
    public int Index { get; }

    /// <summary>What the device sends.</summary>
    public PipeReader Input => _fromDevice.Reader;

    /// <summary>What the device gets.</summary>
    public PipeWriter Output => _toDevice.Writer;

    /// <summary>Whether the device has said that it has this port; true from the start without control queues.</summary>
    public bool IsAdded { get; private set; }

    /// <summary>Whether the device has said that it is a console.</summary>
    public bool IsConsole { get; private set; }

    /// <summary>The name that the device has given it; null: none so far.</summary>
    public string? Name { get; private set; }

    /// <summary>Whether the device's side is open. What is written waits until it is.</summary>
    public bool IsDeviceOpen => Opened.IsCompletedSuccessfully;

    /// <summary>Completes when the device's side is open; after it was closed there is another task.</summary>
    public Task Opened => Volatile.Read(ref _opened).Task;

    /// <summary>Completes when <see cref="Output"/> was completed and the device has taken everything; faults when that cannot happen any more.</summary>
    public Task Sent => _sent.Task;

    /// <summary>Tells the device whether this side is open. At the start it is.</summary>
    /// <param name="open">Open or closed.</param>
    /// <param name="cancellationToken">Stops waiting.</param>
    /// <returns>Completes when the message is on the ring; at once without control queues.</returns>
    public ValueTask SetOpenAsync(bool open, CancellationToken cancellationToken = default) =>
        _control?.SendAsync(new VirtioConsoleControl((uint)Index, VirtioConsoleEvent.PortOpen, open ? (ushort)1 : (ushort)0), cancellationToken) ?? ValueTask.CompletedTask;

    internal IEnumerable<VringSettings> Rings => [_receiving.Settings, _sending.Settings];

    internal void Run(Func<Exception?> reason, CancellationToken stop)
    {
        IsAdded |= _control is null;
        _loops = Task.WhenAll(
            Task.Run(() => ReceiveAsync(reason, stop), CancellationToken.None),
            Task.Run(() => SendAsync(reason, stop), CancellationToken.None));
    }

    internal async ValueTask CloseAsync()
    {
        await BoundedWait.ForAsync(_loops).ConfigureAwait(false);
        _receiving.Dispose();
        _sending.Dispose();
    }

    internal void HearAdded() => IsAdded = true;

    internal void HearConsole() => IsConsole = true;

    internal void HearName(string name) => Name = name;

    internal void HearOpen(bool open)
    {
        if (open)
            _opened.TrySetResult();
        else if (IsDeviceOpen)
            Volatile.Write(ref _opened, new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously));
    }

    private async Task ReceiveAsync(Func<Exception?> reason, CancellationToken stop)
    {
        Exception? end = null;
        try
        {
            _receiving.Fill();
            byte[] bytes = new byte[_receiving.SlotSize];
            bool wanted = true;
            while (true)
            {
                int count = await _receiving.ReceiveAsync(bytes, stop).ConfigureAwait(false);
                if (wanted && count > 0)
                    wanted = !(await _fromDevice.Writer.WriteAsync(bytes.AsMemory(0, count), stop).ConfigureAwait(false)).IsCompleted;
            }
        }
        catch (OperationCanceledException)
        {
            end = reason();
        }
        catch (Exception e)
        {
            end = e;
        }

        await _fromDevice.Writer.CompleteAsync(end).ConfigureAwait(false);
    }

    private async Task SendAsync(Func<Exception?> reason, CancellationToken stop)
    {
        Exception? end = null;
        try
        {
            for (ReadResult read = default; !read.IsCompleted;)
            {
                read = await _toDevice.Reader.ReadAsync(stop).ConfigureAwait(false);
                await Opened.WaitAsync(stop).ConfigureAwait(false);
                await _sending.SendAsync(read.Buffer, stop).ConfigureAwait(false);
                _toDevice.Reader.AdvanceTo(read.Buffer.End);
            }

            await _sending.TakenAsync(stop).ConfigureAwait(false);
            _sent.TrySetResult();
        }
        catch (OperationCanceledException)
        {
            end = reason() ?? new ObjectDisposedException(nameof(ConsoleClient));
        }
        catch (Exception e)
        {
            end = e;
        }

        if (end is not null && _sent.TrySetException(end))
            _ = _sent.Task.Exception; // seen: nobody needs to await it
        await _toDevice.Reader.CompleteAsync(end is ObjectDisposedException ? null : end).ConfigureAwait(false);
    }
}
