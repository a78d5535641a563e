using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Conformance.Tests;

/// <summary>A front-end that says all that it should say of one ring, and does with its memory what a test wants. It connects again after each end until it is disposed.</summary>
internal sealed class HostileFrontend : IAsyncDisposable
{
    private const ulong UserOffset = 0x1_0000;
    private const int LargestConfig = 4108;

    private static readonly TimeSpan _pause = TimeSpan.FromMilliseconds(2);
    private static readonly TimeSpan _most = TimeSpan.FromMinutes(1);

    private readonly CancellationTokenSource _stop = new(); // has no timer, so nothing is left to dispose of
    private readonly string _socketPath;
    private readonly HostileScript _script;
    private readonly Task _running;

    public HostileFrontend(string socketPath, HostileScript script)
    {
        (_socketPath, _script) = (socketPath, script);
        _running = Task.Run(RunAsync);
    }

    /// <summary>Bytes of memory that it took when a connection ended; the most of all of them.</summary>
    public ulong Taken { get; private set; }

    /// <summary>Runs cases with such a front-end, which must come to an end.</summary>
    /// <returns>The findings, and how much memory the front-end took.</returns>
    public static async Task<(IReadOnlyList<ConformanceResult> Results, ulong Taken)> ExaminedAsync(HostileScript script, string only, string device = "blk")
    {
        using TempSocket socket = new();
        await using HostileFrontend frontend = new(socket.Path, script);
        FrontendSuite suite = new(new() { SocketPath = socket.Path, Device = device, Only = only, Timeout = script.Patience });
        ConformanceReport report = await suite.RunAsync().WaitAsync(_most);
        await frontend.DisposeAsync();
        return (report.Results, frontend.Taken);
    }

    /// <summary>Plays one case of a test's own with such a front-end, which must come to an end.</summary>
    /// <returns>The finding, and how much memory the front-end took.</returns>
    public static async Task<(ConformanceResult Result, ulong Taken)> PlayedAsync(HostileScript script, Func<FrontendPeer, Task> run, string device = "blk", ulong? mostMemory = null)
    {
        using TempSocket socket = new();
        await using VhostUserListener listener = VhostUserListener.Listen(socket.Path);
        FrontendSuiteOptions options = new() { SocketPath = socket.Path, Device = device, Timeout = script.Patience };
        await using FrontendExamination examination = new(options, listener) { MostMemory = mostMemory ?? TouchedPages.Usual };
        await using HostileFrontend frontend = new(socket.Path, script);
        FrontendCase played = new(new("hostile/case", "hostile", "A case", "", ConformanceLevel.Must), run);
        ConformanceResult result = await examination.RunAsync(played, default).WaitAsync(_most);
        await frontend.DisposeAsync();
        return (result, frontend.Taken);
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _running;
    }

    private async Task RunAsync()
    {
        try
        {
            for (int connection = 1; ; connection++)
            {
                await ConnectOnceAsync(connection);
                await Task.Delay(_pause, _stop.Token);
            }
        }
        catch (OperationCanceledException)
        {
        }
    }

    private async Task ConnectOnceAsync(int number)
    {
        VhostUserConnection connection = await VhostUserConnection.ConnectAsync(_socketPath, new() { RetryFor = Timeout.InfiniteTimeSpan, RetryDelay = _pause }, _stop.Token);
        using SafeFileHandle file = RawDescriptors.MemoryFile((long)_script.FileSize) ?? throw new InvalidOperationException("no memory file is made");
        using CancellationTokenSource ended = new();
        HostileRing ring = new(file, _script, number, ended.Token);
        await using (connection)
        {
            try
            {
                await BringUpAsync(connection, file, ring);
                Task act = Task.Run(() => _script.Act(ring));
                if (_script.Flood is { } flood)
                    await FloodAsync(connection, flood, file);
                (await connection.ReceiveAsync(_stop.Token))?.Dispose();
                await ended.CancelAsync();
                await act;
            }
            catch (Exception e) when (e is VhostUserException or LinuxException)
            {
                // The suite has ended the connection.
            }
        }

        Taken = Math.Max(Taken, ring.Taken);
    }

    /// <summary>Until the suite has enough of it.</summary>
    private async Task FloodAsync(VhostUserConnection connection, VhostUserRequest flood, SafeFileHandle file)
    {
        using EventNotifier call = new();
        (byte[] payload, SafeHandle[] descriptors) = flood switch
        {
            VhostUserRequest.SetMemTable => (Table(_script.FileSize), [file]),
            VhostUserRequest.SetVringCall => (U64(0), [call.Descriptor]),
            VhostUserRequest.SetConfig => (new byte[LargestConfig], []),
            _ => (Payload(new VhostUserVringState(0, _script.RingSize)), Array.Empty<SafeHandle>()),
        };
        while (true)
            await TellAsync(connection, flood, payload, descriptors);
    }

    private async Task BringUpAsync(VhostUserConnection connection, SafeFileHandle file, HostileRing ring)
    {
        await AskAsync(connection);
        await TellAsync(connection, VhostUserRequest.SetFeatures, U64((ulong)_script.Features));
        await TellAsync(connection, VhostUserRequest.SetOwner, []);
        await TellAsync(connection, VhostUserRequest.SetMemTable, Table(_script.FileSize), file);
        await AskAsync(connection);
        _script.Before(ring);
        await TellAsync(connection, VhostUserRequest.SetVringNum, Payload(new VhostUserVringState(0, ring.Size)));
        await TellAsync(connection, VhostUserRequest.SetVringBase, Payload(new VhostUserVringState(0, (_script.Features & VirtioFeatures.RingPacked) != 0 ? 0x8000_8000U : 0)));
        await TellAsync(connection, VhostUserRequest.SetVringAddr, Payload(new VhostUserVringAddress(0, 0, new(ring.Descriptors + UserOffset), new(ring.Used + UserOffset), new(ring.Available + UserOffset), 0)));
        using EventNotifier kick = new(), call = new();
        await TellAsync(connection, VhostUserRequest.SetVringCall, U64(0), call.Descriptor);
        await TellAsync(connection, VhostUserRequest.SetVringKick, U64(0), kick.Descriptor);
        await TellAsync(connection, VhostUserRequest.SetVringEnable, Payload(new VhostUserVringState(0, 1)));
        await AskAsync(connection);
    }

    /// <summary>The suite has done what was said before.</summary>
    private async Task AskAsync(VhostUserConnection connection)
    {
        await TellAsync(connection, VhostUserRequest.GetFeatures, []);
        (await connection.ReceiveAsync(_stop.Token))?.Dispose();
    }

    private Task TellAsync(VhostUserConnection connection, VhostUserRequest request, byte[] payload, params SafeHandle[] descriptors) =>
        connection.SendAsync(VhostUserHeader.ForRequest(request, payload.Length, false), payload, descriptors, _stop.Token).AsTask();

    private static byte[] Table(ulong size)
    {
        VhostUserMemoryRegion[] regions = [new(new(0), size, new(UserOffset), 0)];
        byte[] payload = new byte[VhostUserMemoryTable.EncodedSizeOf(regions.Length)];
        VhostUserMemoryTable.Write(regions, payload);
        return payload;
    }

    private static byte[] Payload<T>(T value)
        where T : struct, IVhostUserPayload<T>
    {
        byte[] payload = new byte[value.EncodedSize];
        value.Write(payload);
        return payload;
    }

    private static byte[] U64(ulong value) => BitConverter.GetBytes(value);
}
