using System.Diagnostics;
using System.Net.Sockets;
using System.Text.Json;
using System.Text.Json.Nodes;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Guests;

/// <summary>QEMU's monitor (QMP): commands, one at a time, and events. Every wait is bounded.</summary>
internal sealed class GuestMonitor : IAsyncDisposable
{
    /// <summary>Bytes left when all memory of a guest with <see cref="GuestCommand.WithMemoryThatGoesLast"/> has been copied but that, and the picture that nobody sees.</summary>
    private const long Last = 48 << 20;

    private static readonly TimeSpan _deadline = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan _migrationDeadline = TimeSpan.FromMinutes(2);

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

    /// <summary>Connects to a QEMU that is starting.</summary>
    internal static async Task<GuestMonitor> ConnectAsync(string path)
    {
        Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await Eventually.TrueAsync(() => TryConnect(socket, path));
        GuestMonitor monitor = new(new NetworkStream(socket, ownsSocket: true));
        await monitor.ExecuteAsync("qmp_capabilities");
        return monitor;
    }

    private static bool TryConnect(Socket socket, string path)
    {
        try
        {
            socket.Connect(new UnixDomainSocketEndPoint(path));
            return true;
        }
        catch (SocketException)
        {
            return false; // not there yet, or not listened on
        }
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

    /// <summary>Moves the guest away while it runs, and waits until all of it has gone.</summary>
    /// <remarks>
    /// All is copied once, and what was written meanwhile once more, when the guest is stopped. Without KVM this is all that QEMU 7.2 can do: when it looks what the processor has written it forgets to tell
    /// the processor, so that a guest that runs on between two such looks loses pages, with devices of ours or without. Nor may the guest be at work when this ends.
    /// </remarks>
    /// <param name="uri">Where it goes.</param>
    /// <param name="meanwhile">What is done when its memory has been copied, and not all of <see cref="GuestCommand.WithMemoryThatGoesLast"/>.</param>
    internal async Task SendAsync(string uri, Func<Task> meanwhile)
    {
        await TellMigrationAsync();
        await LetAsync(bandwidth: 64 << 20, downtime: 1);
        int from = _events.Count;
        await ExecuteAsync("migrate", new { uri });
        await UntilOnlyTheLastIsLeftAsync();
        await LetAsync(bandwidth: 64 << 10, downtime: 1);
        Task gone = MigratedAsync(from);
        Task done = meanwhile();
        (await Task.WhenAny(done, gone)).Should().BeSameAs(done, "it goes when it is told to");
        await done;
        await LetAsync(bandwidth: 10L << 30, downtime: 2000);
        await gone;
    }

    /// <summary>Says from where the guest comes, and waits until it runs here. Returns when it may be sent; the task within ends when it is here.</summary>
    internal async Task<Task> ReceiveAsync(string uri)
    {
        await TellMigrationAsync();
        int from = _events.Count;
        await ExecuteAsync("migrate-incoming", new { uri });
        return RunsHereAsync(from);
    }

    /// <summary>Moves the guest away before its memory: it runs there at once, and fetches what it needs.</summary>
    /// <param name="uri">Where it goes.</param>
    /// <param name="meanwhile">What is done while it runs there and most of its memory is here.</param>
    internal async Task SendAheadAsync(string uri, Func<Task> meanwhile)
    {
        await TellMigrationAsync(postcopy: true);
        await LetAsync(bandwidth: 256 << 10, downtime: 1);
        await ExecuteAsync("migrate-set-parameters", new Dictionary<string, long>(StringComparer.Ordinal) { ["max-postcopy-bandwidth"] = 4 << 20 });
        int from = _events.Count;
        await ExecuteAsync("migrate", new { uri });
        await StatusAsync("active", from);
        await ExecuteAsync("migrate-start-postcopy");
        await StatusAsync("postcopy-active", from);
        Task gone = MigratedAsync(from);
        Task done = meanwhile();
        (await Task.WhenAny(done, gone)).Should().BeSameAs(done, "its memory is still under way");
        await done;
        await ExecuteAsync("migrate-set-parameters", new Dictionary<string, long>(StringComparer.Ordinal) { ["max-postcopy-bandwidth"] = 0 });
        await gone;
    }

    /// <summary>Says from where the guest comes, before its memory. Returns when it may be sent.</summary>
    /// <returns>When it runs here, and when all of it is here.</returns>
    internal async Task<(Task Runs, Task Arrives)> ReceiveAheadAsync(string uri)
    {
        await TellMigrationAsync(postcopy: true);
        int from = _events.Count;
        await ExecuteAsync("migrate-incoming", new { uri });
        return (_events.FirstAsync(line => line.Contains("\"RESUME\"", StringComparison.Ordinal), from).WaitAsync(_deadline), MigratedAsync(from));
    }

    private Task<string> StatusAsync(string status, int from) => _events.FirstAsync(
        line => line.Contains("\"MIGRATION\"", StringComparison.Ordinal) && line.Contains($"\"{status}\"", StringComparison.Ordinal), from).WaitAsync(_deadline);

    /// <param name="bandwidth">Bytes in a second.</param>
    /// <param name="downtime">Milliseconds for which the guest may be stopped.</param>
    private Task<JsonElement> LetAsync(long bandwidth, long downtime) =>
        ExecuteAsync("migrate-set-parameters", new Dictionary<string, long>(StringComparer.Ordinal) { ["max-bandwidth"] = bandwidth, ["downtime-limit"] = downtime });

    /// <summary>QEMU tells by events when a copy of all memory begins and not how far it is: it has to be asked.</summary>
    private async Task UntilOnlyTheLastIsLeftAsync()
    {
        long started = Stopwatch.GetTimestamp();
        while (true)
        {
            JsonElement migration = await ExecuteAsync("query-migrate");
            string status = migration.TryGetProperty("status", out JsonElement word) ? word.GetString()! : "none";
            status.Should().BeOneOf(["none", "setup", "active"], $"it goes on: {migration}");
            if (migration.TryGetProperty("ram", out JsonElement memory) && memory.GetProperty("remaining").GetInt64() is > 0 and < Last)
                return;
            if (Stopwatch.GetElapsedTime(started) > _migrationDeadline)
                throw new TimeoutException($"The guest's memory was not copied: {migration}");
            await Task.Delay(20);
        }
    }

    private Task<JsonElement> TellMigrationAsync(bool postcopy = false) => ExecuteAsync(
        "migrate-set-capabilities", new { capabilities = new[] { new { capability = "events", state = true }, new { capability = "postcopy-ram", state = postcopy } } });

    private async Task RunsHereAsync(int from)
    {
        await MigratedAsync(from);
        await _events.FirstAsync(line => line.Contains("\"RESUME\"", StringComparison.Ordinal), from).WaitAsync(_deadline);
    }

    private async Task MigratedAsync(int from)
    {
        string end = await _events.FirstAsync(
            line => line.Contains("\"MIGRATION\"", StringComparison.Ordinal) && (line.Contains("\"completed\"", StringComparison.Ordinal) || line.Contains("\"failed\"", StringComparison.Ordinal)),
            from).WaitAsync(_migrationDeadline);
        if (end.Contains("\"failed\"", StringComparison.Ordinal))
            throw new InvalidOperationException($"the migration failed: {await ExecuteAsync("query-migrate")}");
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
