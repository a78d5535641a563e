using System.Buffers;
using System.Diagnostics.CodeAnalysis;
using System.Text;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>The control queues of a console client (virtio 1.2, 5.3.6.2): what the device says about its ports, and the answers.</summary>
[SuppressMessage("Design", "CA1001", Justification = "A semaphore of which nobody takes the wait handle holds nothing.")]
internal sealed class ConsoleClientControl(ConsoleReceiveRing receiving, ConsoleSendRing sending)
{
    private readonly SemaphoreSlim _turn = new(1, 1);

    internal IEnumerable<VringSettings> Rings => [receiving.Settings, sending.Settings];

    internal async ValueTask SendAsync(VirtioConsoleControl message, CancellationToken stop)
    {
        byte[] bytes = new byte[VirtioConsoleControl.Size];
        message.Write(bytes);
        await _turn.WaitAsync(stop).ConfigureAwait(false);
        try
        {
            await sending.SendAsync(new ReadOnlySequence<byte>(bytes), stop).ConfigureAwait(false);
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>Does what the device says, until stopped. What makes no sense is ignored.</summary>
    internal async Task ServeAsync(IReadOnlyList<ConsoleClientPort> ports, Action<ConsoleSize> resized, CancellationToken stop)
    {
        receiving.Fill();
        await SendAsync(new VirtioConsoleControl(uint.MaxValue, VirtioConsoleEvent.DeviceReady, 1), stop).ConfigureAwait(false);
        byte[] bytes = new byte[receiving.SlotSize];
        while (true)
        {
            int count = await receiving.ReceiveAsync(bytes, stop).ConfigureAwait(false);
            if (!VirtioConsoleControl.TryRead(bytes.AsSpan(0, count), out VirtioConsoleControl message) || message.Port >= (uint)ports.Count)
                continue;
            ConsoleClientPort port = ports[(int)message.Port];
            if (message.Event == VirtioConsoleEvent.DeviceAdd)
                await AnswerAsync(port, stop).ConfigureAwait(false);
            else if (message.Event == VirtioConsoleEvent.Resize && VirtioConsoleControl.TryReadSize(bytes.AsSpan(0, count), out ConsoleSize size))
                resized(size);
            else
                Hear(port, message, bytes.AsSpan(VirtioConsoleControl.Size, count - VirtioConsoleControl.Size));
        }
    }

    /// <summary>The loops have ended.</summary>
    internal void Close()
    {
        receiving.Dispose();
        sending.Dispose();
    }

    private static void Hear(ConsoleClientPort port, in VirtioConsoleControl message, ReadOnlySpan<byte> rest)
    {
        switch (message.Event)
        {
            case VirtioConsoleEvent.ConsolePort:
                port.HearConsole();
                break;
            case VirtioConsoleEvent.PortOpen:
                port.HearOpen(message.Value != 0);
                break;
            case VirtioConsoleEvent.DeviceRemove:
                port.HearOpen(open: false);
                break;
            case VirtioConsoleEvent.PortName:
                port.HearName(Encoding.UTF8.GetString(rest[..Math.Min(rest.Length, VirtioConsoleControl.MaxName)]).TrimEnd('\0'));
                break;
        }
    }

    private async ValueTask AnswerAsync(ConsoleClientPort port, CancellationToken stop)
    {
        port.HearAdded();
        await SendAsync(new VirtioConsoleControl((uint)port.Index, VirtioConsoleEvent.PortReady, 1), stop).ConfigureAwait(false);
        await port.SetOpenAsync(open: true, stop).ConfigureAwait(false);
    }
}
