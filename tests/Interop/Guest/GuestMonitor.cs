using System.Net.Sockets;
using System.Text.Json;
using System.Text.Json.Nodes;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Guests;

/// <summary>QEMU's monitor (QMP): commands, one at a time, and events. Every wait is bounded.</summary>
internal sealed class GuestMonitor : IAsyncDisposable
{
    private static readonly TimeSpan _deadline = TimeSpan.FromSeconds(60);

    private readonly LineBuffer _answers = new();
    private readonly LineBuffer _events = new();
    private readonly NetworkStream _stream;
    private readonly StreamReader _reader;
    private readonly Task _reading;

    private GuestMonitor(NetworkStream stream)
    {
        _stream = stream;
        _reader = new StreamReader(stream);
        _reading = ReadAsync();
    }

    internal static async Task<GuestMonitor> ConnectAsync(string path)
    {
        Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(path));
        GuestMonitor monitor = new(new NetworkStream(socket, ownsSocket: true));
        await monitor.ExecuteAsync("qmp_capabilities");
        return monitor;
    }

    /// <summary>Runs a command that must succeed.</summary>
    internal async Task<JsonElement> ExecuteAsync(string command, object? arguments = null)
    {
        int from = _answers.Count;
        JsonObject request = new() { ["execute"] = command };
        if (arguments is not null)
            request["arguments"] = JsonSerializer.SerializeToNode(arguments);
        await _stream.WriteAsync(JsonSerializer.SerializeToUtf8Bytes(request));
        string answer = await _answers.FirstAsync(_ => true, from).WaitAsync(_deadline);
        using JsonDocument document = JsonDocument.Parse(answer);
        document.RootElement.TryGetProperty("error", out _).Should().BeFalse($"{request.ToJsonString()} answered {answer}");
        return document.RootElement.GetProperty("return").Clone();
    }

    /// <summary>Adds a socket that connects to a back-end and comes back to it, and a device behind it.</summary>
    internal async Task PlugAsync(string driver, string id, string slot, string socket)
    {
        object address = new { type = "unix", data = new { path = socket } };
        await ExecuteAsync("chardev-add", new { id = $"chardev-{id}", backend = new { type = "socket", data = new { addr = address, server = false, reconnect = 1 } } });
        await ExecuteAsync("device_add", new { driver, id, bus = slot, chardev = $"chardev-{id}" });
    }

    /// <summary>Asks the guest to let go of a device and waits until it has; then its socket goes too.</summary>
    internal async Task UnplugAsync(string id)
    {
        int from = _events.Count;
        await ExecuteAsync("device_del", new { id });
        await _events.FirstAsync(line => line.Contains("DEVICE_DELETED", StringComparison.Ordinal) && line.Contains($"\"{id}\"", StringComparison.Ordinal), from).WaitAsync(_deadline);
        await ExecuteAsync("chardev-remove", new { id = $"chardev-{id}" });
    }

    /// <summary>Presses the reset button.</summary>
    internal Task ResetAsync() => ExecuteAsync("system_reset");

    public async ValueTask DisposeAsync()
    {
        await _stream.DisposeAsync();
        await _reading.WaitAsync(_deadline);
        _reader.Dispose();
    }

    private async Task ReadAsync()
    {
        try
        {
            while (await _reader.ReadLineAsync() is { } line)
            {
                if (line.StartsWith("{\"QMP\"", StringComparison.Ordinal))
                    continue;
                (line.Contains("\"event\":", StringComparison.Ordinal) ? _events : _answers).Add(line);
            }
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException)
        {
            // QEMU ended, or this side has.
        }
    }
}
