using System.Diagnostics;
using Vhost.Backend;
using Vhost.Protocol;

namespace LiveMigration;

/// <summary>What this program is when it is started as a back-end: it serves one front-end and ends with it.</summary>
internal static class BackendProgram
{
    /// <summary>Starts this program again, as a back-end.</summary>
    public static Process Start(string kind, string socket, string image)
    {
        string self = Environment.ProcessPath!;
        bool isHost = Path.GetFileNameWithoutExtension(self) == "dotnet";
        string[] arguments = ["back-end", kind, socket, image];
        return Process.Start(new ProcessStartInfo(self, isHost ? [Environment.GetCommandLineArgs()[0], .. arguments] : arguments) { UseShellExecute = false })!;
    }

    public static async Task<int> RunAsync(string kind, string socket, string image)
    {
        await using VhostUserListener listener = VhostUserListener.Listen(socket);
        if (kind == "disk")
        {
            // Both hosts have the image open while the guest moves: the one that it leaves has stopped by the time at which the other one begins.
            using FileStorage storage = FileStorage.Open(image, new FileStorageOptions { Lock = false });
            await using VhostUserBackend backend = new(new BlockDevice(storage));
            await backend.ServeAsync(await listener.AcceptAsync());
            return 0;
        }

        NetDevice device = new(new NetDeviceOptions { Mac = MacAddress.Random() });
        await using VhostUserBackend net = new(device);
        using CancellationTokenSource stop = new();
        Thread echo = new(() => Echo(device.Ports[0], stop.Token)) { Name = "echo" };
        echo.Start();
        await net.ServeAsync(await listener.AcceptAsync());
        await stop.CancelAsync();
        echo.Join();
        return 0;
    }

    /// <summary>The network: whatever the guest sends comes back, unless it has no room.</summary>
    private static void Echo(NetPort port, CancellationToken stop)
    {
        PacketBuffer[] packets = new PacketBuffer[32];
        new PacketPool(64).RentBurst(packets);
        while (!stop.IsCancellationRequested)
        {
            int count = port.DequeueBurst(packets);
            port.EnqueueBurst(packets.AsSpan(0, count));
            if (count == 0)
                Thread.Sleep(1); // so that the processors are the guest's
        }
    }
}
