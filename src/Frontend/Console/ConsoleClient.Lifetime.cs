using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>Start and end of the device.</summary>
public sealed partial class ConsoleClient
{
    /// <summary>Ends the client in bounded time: the pipes end, the connection is closed, and the memory goes. What the device has not taken yet is lost: see <see cref="ConsoleClientPort.Sent"/>.</summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        Frontend.ConfigChanged -= OnConfigChanged;
        await _ending.CancelAsync().ConfigureAwait(false);
        await Frontend.DisposeAsync().ConfigureAwait(false);
        await BoundedWait.ForAsync(Task.WhenAll(_watch, _controlLoop)).ConfigureAwait(false);
        foreach (ConsoleClientPort port in _ports)
            await port.CloseAsync().ConfigureAwait(false);
        _control?.Close();
        _memory?.Dispose();
        _completion.TrySetResult();
    }

    private async ValueTask StartAsync(CancellationToken cancellationToken)
    {
        VirtioConsoleConfig config = await ReadConfigAsync(cancellationToken).ConfigureAwait(false);
        bool multiPort = (Features & VirtioConsoleFeatures.MultiPort) != 0;
        MakeQueues(multiPort ? PortsOf(config) : 1, multiPort);
        if ((Features & VirtioConsoleFeatures.Size) != 0)
            _size = config.Console;
        Frontend.ConfigChanged += OnConfigChanged;
        await Frontend.SetMemoryAsync(_memory!, cancellationToken).ConfigureAwait(false);
        VringSettings[] rings = [.. _ports.SelectMany(port => port.Rings).Concat(_control?.Rings ?? []).OrderBy(ring => ring.Index)];
        await Frontend.StartVringsAsync(rings, cancellationToken).ConfigureAwait(false);
        foreach (ConsoleClientPort port in _ports)
            port.Run(() => Volatile.Read(ref _failure), _ending.Token);
        if (_control is not null)
            _controlLoop = Task.Run(ServeControlAsync, CancellationToken.None);
        _watch = WatchAsync();
    }

    private int PortsOf(in VirtioConsoleConfig config)
    {
        int served = (Frontend.QueueCount / 2) - 1;
        if (served < 1)
        {
            throw new VhostUserProtocolException(
                VhostUserViolation.BadValue,
                string.Create(CultureInfo.InvariantCulture, $"The back-end offers VIRTIO_CONSOLE_F_MULTIPORT and serves {Frontend.MaxQueues} queues: must be at least 4."));
        }

        return (int)Math.Clamp(config.MaxPorts, 1, (uint)Math.Min(served, _options.Ports));
    }

    private async ValueTask<VirtioConsoleConfig> ReadConfigAsync(CancellationToken cancellationToken)
    {
        if ((Frontend.ProtocolFeatures & VhostUserProtocolFeatures.Config) == 0)
            return default;
        byte[] bytes = new byte[VirtioConsoleConfig.EmergencyWriteOffset];
        await Frontend.ReadConfigAsync(0, bytes, cancellationToken).ConfigureAwait(false);
        VirtioConsoleConfig.TryRead(bytes, out VirtioConsoleConfig config);
        return config;
    }

    /// <summary>Lays everything out in one piece of memory.</summary>
    private void MakeQueues(int ports, bool multiPort)
    {
        VirtioFeatures features = Frontend.AcknowledgedFeatures;
        ulong each = ConsoleRing.SizeInBytes(_options, features);
        int queues = VirtioConsoleQueues.Count(ports, multiPort);
        using (SharedMemory memory = SharedMemory.CreateSealed("vhost-console-client", each * (ulong)queues))
            _memory = GuestMemory.Create(new GuestMemoryRegion(new GuestAddress(MemoryStart), memory));
        ConsoleReceiveRing Receiving(int queue) => new(queue, _memory, MemoryStart + (each * (ulong)queue), _options, features);
        ConsoleSendRing Sending(int queue) => new(queue, _memory, MemoryStart + (each * (ulong)queue), _options, features);
        if (multiPort)
            _control = new ConsoleClientControl(Receiving(VirtioConsoleQueues.ControlReceive), Sending(VirtioConsoleQueues.ControlTransmit));
        _ports = [.. Enumerable.Range(0, ports).Select(port => new ConsoleClientPort(
            port, Receiving(VirtioConsoleQueues.Receive(port)), Sending(VirtioConsoleQueues.Transmit(port)), _control, _options.PipeSize))];
    }

    private async Task WatchAsync()
    {
        try
        {
            await Frontend.Completion.ConfigureAwait(false);
        }
        catch (Exception reason)
        {
            Fail(reason);
        }
    }

    private async Task ServeControlAsync()
    {
        try
        {
            await _control!.ServeAsync(_ports, Resize, _ending.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            // The client ends.
        }
        catch (Exception reason)
        {
            Fail(reason);
        }
    }

    /// <summary>The first reason stays.</summary>
    private void Fail(Exception reason)
    {
        Interlocked.CompareExchange(ref _failure, reason, null);
        if (_completion.TrySetException(reason))
            _ = _completion.Task.Exception; // seen: nobody needs to await it
        _ = _ending.CancelAsync();
    }

    private void OnConfigChanged(object? sender, EventArgs arguments) => _reread.Ask();

    private async Task RereadSizeAsync()
    {
        try
        {
            VirtioConsoleConfig config = await ReadConfigAsync(_ending.Token).ConfigureAwait(false);
            if ((Features & VirtioConsoleFeatures.Size) != 0)
                Resize(config.Console);
        }
        catch (Exception failure) when (failure is VhostUserException or OperationCanceledException or ObjectDisposedException)
        {
            // A session that ended says so itself; a device that does not give its size keeps the last one.
        }
    }

    private void Resize(ConsoleSize size)
    {
        lock (_gate)
        {
            if (_size == size)
                return;
            _size = size;
        }

        _tellSize.Ask();
    }

    private Task TellSizeAsync()
    {
        SizeChanged?.Invoke(this, EventArgs.Empty);
        return Task.CompletedTask;
    }
}
