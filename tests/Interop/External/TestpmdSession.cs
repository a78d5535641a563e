using Microsoft.Extensions.Logging;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.External;

/// <summary>One side of ours and one testpmd at the other end of the socket.</summary>
internal sealed class TestpmdSession : IAsyncDisposable
{
    private readonly TempFolder _folder = new();
    private readonly CancellationTokenSource _ended = new();
    private readonly LogRecorder _log = new(LogLevel.Warning);
    private NetClient? _client;
    private VhostUserListener? _listener;
    private VhostUserBackend? _backend;
    private NetDevice? _device;
    private Task _serving = Task.CompletedTask;

    private TestpmdSession(EchoShape shape, TestpmdRole role)
    {
        Shape = shape;
        Command = CommandFor(role, shape);
    }

    internal EchoShape Shape { get; private set; }

    internal TestpmdCommand Command { get; private set; }

    internal Testpmd Testpmd { get; private set; } = null!;

    internal EchoPort[] Ports { get; private set; } = [];

    /// <summary>Our driver; null when testpmd is the driver.</summary>
    internal NetClient? Client => _client;

    /// <summary>Our device; null when testpmd is the device.</summary>
    internal NetDevice? Device => _device;

    /// <summary>What our side complained about.</summary>
    internal IEnumerable<string> Complaints => _log.Lines;

    /// <summary>What was agreed on, as our side sees it.</summary>
    internal VirtioFeatures Features => _client?.Frontend.AcknowledgedFeatures ?? _device!.Acknowledged;

    /// <summary>testpmd is the device (<c>net_vhost</c>), we are the driver.</summary>
    internal static async Task<TestpmdSession> WithBackendAsync(EchoShape shape)
    {
        Peers.Require(TestpmdCommand.Program, TestpmdCommand.Package);
        TestpmdSession session = new(shape, TestpmdRole.Backend);
        try
        {
            if (shape.Reversed)
                await session.AcceptAsync();
            else
                await session.ConnectAsync();
            session.Ports = EchoPort.Of(session._client!);
            return session;
        }
        catch
        {
            await session.DisposeAsync();
            throw;
        }
    }

    /// <summary>testpmd is the driver (<c>net_virtio_user</c>), we are the device.</summary>
    internal static async Task<TestpmdSession> WithFrontendAsync(EchoShape shape)
    {
        Peers.Require(TestpmdCommand.Program, TestpmdCommand.Package);
        TestpmdSession session = new(shape, TestpmdRole.Frontend);
        try
        {
            await session.ServeAsync();
            session.Ports = EchoPort.Of(session._device!);
            return session;
        }
        catch
        {
            await session.DisposeAsync();
            throw;
        }
    }

    /// <summary>Puts another testpmd in the place of the one that was killed, perhaps with another shape.</summary>
    internal async Task ReplaceTestpmdAsync(EchoShape? shape = null)
    {
        await Testpmd.DisposeAsync();
        if (shape is not null)
            (Shape, Command) = (shape, CommandFor(Command.Role, shape));
        if (Command.Listens)
            File.Delete(Command.SocketPath); // one that was killed leaves it, and DPDK does not take the place of a file
        Testpmd = await Testpmd.StartAsync(Command);
    }

    public async ValueTask DisposeAsync()
    {
        if (Testpmd is not null)
            await Testpmd.DisposeAsync();
        if (_client is not null)
            await _client.DisposeAsync();
        if (_listener is not null)
            await _listener.DisposeAsync();
        await _ended.CancelAsync();
        await _serving.InTime();
        if (_backend is not null)
            await _backend.DisposeAsync();
        _ended.Dispose();
        _folder.Dispose();
    }

    private async Task ConnectAsync()
    {
        Testpmd = await Testpmd.StartAsync(Command);
        _client = await NetClient.ConnectAsync(Command.SocketPath, ClientOptions());
    }

    private async Task AcceptAsync()
    {
        _listener = VhostUserListener.Listen(Command.SocketPath);
        Testpmd = await Testpmd.StartAsync(Command);
        using CancellationTokenSource limit = new(TimeSpan.FromSeconds(30));
        _client = await NetClient.AcceptAsync(_listener, ClientOptions(), limit.Token);
    }

    private async Task ServeAsync()
    {
        _device = new NetDevice(new NetDeviceOptions
        {
            QueuePairs = Shape.Queues,
            Mergeable = Shape.Mergeable || Shape.OffersAll,
            UnwantedFeatures = Shape.OffersAll ? 0 : (Shape.InOrder ? 0 : VirtioFeatures.InOrder) | (Shape.Packed ? 0 : VirtioFeatures.RingPacked),
        });
        _backend = new VhostUserBackend(_device, new VhostUserBackendOptions { Dispatch = QueueDispatch.Application, LoggerFactory = _log });
        if (Shape.Reversed)
            Testpmd = Testpmd.Start(Command);
        _serving = Shape.Reversed ? ServeWhatListensAsync() : _backend.ListenAsync(Command.SocketPath, _ended.Token);
        if (!Shape.Reversed)
        {
            await Eventually.TrueAsync(() => File.Exists(Command.SocketPath) || _serving.IsCompleted);
            Testpmd = Testpmd.Start(Command);
        }

        await Testpmd.ReadyAsync();
    }

    private async Task ServeWhatListensAsync()
    {
        await Eventually.TrueAsync(() => File.Exists(Command.SocketPath));
        await _backend!.ConnectAsync(Command.SocketPath, _ended.Token);
    }

    private TestpmdCommand CommandFor(TestpmdRole role, EchoShape shape) => new()
    {
        Role = role,
        SocketPath = _folder.File("s"),
        ForwardMode = "io",
        Listens = role == TestpmdRole.Backend != shape.Reversed,
        Queues = shape.Queues,
        RingSize = EchoShape.RingSize,
        Packed = shape.Packed,
        InOrder = shape.InOrder,
        Mergeable = shape.Mergeable,
        Vectorized = shape.Vectorized,
        Iommu = shape.Iommu is not null,
        Processor = Math.Min(1, Environment.ProcessorCount - 1),
        Name = Path.GetFileName(_folder.Path),
    };

    private NetClientOptions ClientOptions() => new()
    {
        Reconnect = Shape.Reconnect,
        Iommu = Shape.Iommu,
        QueuePairs = Shape.Queues,
        QueueSize = EchoShape.RingSize,
        Mergeable = Shape.Mergeable,
        RingFeatures = (Shape.Packed ? VirtioFeatures.RingPacked : 0) | (Shape.InOrder ? VirtioFeatures.InOrder : 0),
        LoggerFactory = _log,
        Connect = new VhostUserConnectOptions { RetryFor = TimeSpan.FromSeconds(20) },
    };
}

/// <summary>What the two sides are to agree on.</summary>
public sealed record EchoShape
{
    internal const int RingSize = 1024;

    public bool Packed { get; init; }

    public bool InOrder { get; init; }

    public bool Mergeable { get; init; }

    public bool Vectorized { get; init; }

    public int Queues { get; init; } = 1;

    /// <summary>The front-end listens and the back-end connects.</summary>
    public bool Reversed { get; init; }

    /// <summary>How our driver goes on when testpmd is lost.</summary>
    public ReconnectPolicy? Reconnect { get; init; }

    /// <summary>What testpmd's device is behind; null: nothing.</summary>
    internal IommuMappings? Iommu { get; init; }

    /// <summary>Our device offers more than this: whatever a front-end may want.</summary>
    public bool OffersAll { get; init; }
}
