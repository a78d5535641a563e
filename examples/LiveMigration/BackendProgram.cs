using System.Diagnostics;
using Vhost.Backend;
using Vhost.Protocol;

namespace LiveMigration;

/// <summary>What this program is when it is started as a back-end: it serves one front-end and ends with it.</summary>
/// <param name="Kind">disk or net.</param>
/// <param name="Socket">Where it listens.</param>
/// <param name="Image">What is on the disk.</param>
/// <param name="Postcopy">Whether its front-end may give it memory that is still under way.</param>
internal sealed record BackendProgram(string Kind, string Socket, string Image, bool Postcopy)
{
    private const string Word = "back-end";

    /// <summary>Reads the arguments with which <see cref="Start"/> starts a process.</summary>
    public static BackendProgram? Of(string[] arguments) =>
        arguments is [Word, var kind, var socket, var image, var postcopy] ? new(kind, socket, image, bool.Parse(postcopy)) : null;

    /// <summary>Starts this program again, as a back-end.</summary>
    public Process Start()
    {
        string self = Environment.ProcessPath!;
        bool isHost = Path.GetFileNameWithoutExtension(self) == "dotnet";
        string[] arguments = [Word, Kind, Socket, Image, Postcopy.ToString()];
        return Process.Start(new ProcessStartInfo(self, isHost ? [Environment.GetCommandLineArgs()[0], .. arguments] : arguments) { UseShellExecute = false })!;
    }

    public async Task RunAsync()
    {
        VhostUserBackendOptions options = new() { AdditionalProtocolFeatures = Postcopy ? VhostUserProtocolFeatures.PageFault : VhostUserProtocolFeatures.None };
        await using VhostUserListener listener = VhostUserListener.Listen(Socket);
        if (Kind == "disk")
        {
            // Both hosts have the image open while the guest moves: the one that it leaves has stopped by the time at which the other one begins.
            using FileStorage storage = FileStorage.Open(Image, new FileStorageOptions { Lock = false });
            await using VhostUserBackend backend = new(new BlockDevice(storage), options);
            await backend.ServeAsync(await listener.AcceptAsync());
            return;
        }

        NetDevice device = new(new NetDeviceOptions { Mac = MacAddress.Random() });
        await using VhostUserBackend net = new(device, options);
        using CancellationTokenSource stop = new();
        Thread echo = new(() => Echo(device.Ports[0], stop.Token)) { Name = "echo" };
        echo.Start();
        await net.ServeAsync(await listener.AcceptAsync());
        await stop.CancelAsync();
        echo.Join();
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
