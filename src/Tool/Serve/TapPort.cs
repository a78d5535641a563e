using Microsoft.Extensions.Logging;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;

namespace Vhost.Tool;

/// <summary>A port of a switch at which a TAP interface is the guest: its driver, that moves packets between the two in bursts and sleeps while there are none.</summary>
/// <param name="tap">The interface; stays the caller's.</param>
/// <param name="port">The port.</param>
internal sealed class TapPort(TapInterface tap, NetSwitchPort port)
{
    private const int Burst = 32;

    private static readonly NetClientOptions _driver = new() { QueueSize = 1024, Offloads = NetSwitch.Offloads, RingFeatures = VirtioFeatures.EventIndex };

    private long _refusedByKernel;
    private long _refusedBySwitch;

    /// <summary>What the port has done beside what the switch counts; once it has ended.</summary>
    internal TapReport Report => new(tap.Name, Volatile.Read(ref _refusedByKernel), Volatile.Read(ref _refusedBySwitch));

    /// <summary>Serves the port until told to stop.</summary>
    /// <param name="settings">How its queues are served.</param>
    /// <param name="logs">Where to log.</param>
    /// <param name="threads">Those that the queues share, where they do.</param>
    /// <param name="stop">Ends it.</param>
    /// <exception cref="ToolException">The interface is gone.</exception>
    internal async Task RunAsync(SocketSettings settings, ILoggerFactory logs, QueueThreads? threads, CancellationToken stop)
    {
        await using VhostUserBackend backend = DeviceServer.Create(port.Device, settings, logs, threads);
        (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
        Task serving = backend.ServeAsync(back, CancellationToken.None); // ends with its front-end
        try
        {
            await using NetClient client = await NetClient.StartAsync(front, _driver with { LoggerFactory = logs }, stop);
            tap.LeaveTo(client.Features);
            ToolOutput.PrintNotice($"serving a port of the switch on TAP interface {tap.Name}");
            await MoveAsync(client, stop);
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            // The usual end.
        }

        await serving;
    }

    /// <summary>Both ways at once; the end of one is that of the other.</summary>
    private async Task MoveAsync(NetClient client, CancellationToken stop)
    {
        using CancellationTokenSource ended = CancellationTokenSource.CreateLinkedTokenSource(stop);
        Task[] ways =
        [
            Task.Run(() => ToInterfaceAsync(client.Receivers[0], ended.Token), CancellationToken.None),
            Task.Run(() => FromInterfaceAsync(client.Senders[0], ended.Token), CancellationToken.None),
        ];
        await Task.WhenAny(ways);
        await ended.CancelAsync();
        try
        {
            await Task.WhenAll(ways);
        }
        finally
        {
            Volatile.Write(ref _refusedBySwitch, client.Senders[0].Statistics.Refused);
        }
    }

    private async Task ToInterfaceAsync(NetReceiver receiver, CancellationToken stop)
    {
        PacketBuffer[] packets = NewBurst();
        while (true)
        {
            stop.ThrowIfCancellationRequested();
            int count = receiver.ReceiveBurst(packets);
            for (int i = 0; i < count; i++)
            {
                if (!tap.TrySend(packets[i]))
                    Interlocked.Increment(ref _refusedByKernel);
            }

            if (count == 0)
                await receiver.WaitAsync(stop);
        }
    }

    private async Task FromInterfaceAsync(NetSender sender, CancellationToken stop)
    {
        PacketBuffer[] packets = NewBurst();
        while (true)
        {
            stop.ThrowIfCancellationRequested();
            int count = 0;
            int error = 0;
            while (count < packets.Length && (error = tap.TryReceive(packets[count])) == 0)
                count++;
            int sent = sender.SendBurst(packets.AsSpan(0, count));
            while (sent < count)
            {
                await sender.WaitAsync(stop); // meanwhile the interface's own queue fills, and drops what is beyond
                sent += sender.SendBurst(packets.AsSpan(sent, count - sent));
            }

            if (error == Libc.EAGAIN)
                await tap.WaitAsync(stop);
            else if (error is not (0 or Libc.EINTR))
                throw tap.Gone(new LinuxException("read", error));
        }
    }

    /// <summary>Buffers that hold any packet of an interface in one piece, and one for what goes beyond that.</summary>
    private static PacketBuffer[] NewBurst()
    {
        PacketBuffer[] packets = new PacketBuffer[Burst];
        new PacketPool(Burst + 1, TapInterface.BufferSize).RentBurst(packets);
        return packets;
    }
}
