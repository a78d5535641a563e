using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>A network client that outlives its back-ends, which are all in this process and come one after the other.</summary>
internal sealed class NetSuccession : IAsyncDisposable
{
    internal static readonly ReconnectPolicy Quick = new() { Delay = TimeSpan.FromMilliseconds(5) };

    private readonly TempSocket _socket = new();
    private readonly NetDeviceOptions _options;
    private readonly VhostUserListener? _listener;
    private CancellationTokenSource _stop = new();
    private VhostUserBackend? _backend;
    private Task _serving = Task.CompletedTask;

    private NetSuccession(NetDeviceOptions options, bool listens)
    {
        _options = options;
        _listener = listens ? VhostUserListener.Listen(_socket.Path) : null;
    }

    internal string SocketPath => _socket.Path;

    internal NetClient Client { get; private set; } = null!;

    internal NetDevice Device { get; private set; } = null!;

    internal NetPort Port => Device.Ports[0];

    internal NetSender Sender => Client.Senders[0];

    internal NetReceiver Receiver => Client.Receivers[0];

    /// <summary>Client and first back-end.</summary>
    /// <param name="client">Without a policy of its own it gets a quick one.</param>
    /// <param name="device">What each of the back-ends is.</param>
    /// <param name="listens">The client listens, and the back-ends connect.</param>
    internal static async Task<NetSuccession> StartAsync(NetClientOptions? client = null, NetDeviceOptions? device = null, bool listens = false)
    {
        client ??= new NetClientOptions();
        client = client with { Reconnect = client.Reconnect ?? Quick, Connect = new VhostUserConnectOptions { RetryFor = Eventually.Deadline } };
        NetSuccession net = new(device ?? new NetDeviceOptions(), listens);
        net.Begin();
        net.Client = await (listens ? NetClient.AcceptAsync(net._listener!, client) : NetClient.ConnectAsync(net.SocketPath, client)).InTime();
        await net.ServedAsync();
        return net;
    }

    /// <summary>The back-end goes, whatever is under way.</summary>
    internal async Task EndAsync()
    {
        await _stop.CancelAsync();
        await _serving.InTime();
        if (_backend is not null)
            await _backend.DisposeAsync();
        _backend = null;
    }

    /// <summary>Ends the back-end, and waits until the client has noticed.</summary>
    internal async Task LoseAsync()
    {
        TaskCompletionSource lost = new(TaskCreationOptions.RunContinuationsAsynchronously);
        void OnLost(object? sender, EventArgs arguments) => lost.TrySetResult();
        Client.ConnectionLost += OnLost;
        await EndAsync();
        await lost.Task.InTime();
        Client.ConnectionLost -= OnLost;
    }

    /// <summary>Starts another back-end, and waits until it serves the client.</summary>
    /// <param name="clock">The client's, when it is not the system's: its first try may have met the old one's last moment, and the next is a pause later.</param>
    internal async Task ReplaceAsync(FakeTimeProvider? clock = null)
    {
        int before = Client.Reconnections;
        Begin();
        await Eventually.TrueAsync(
            () =>
            {
                clock?.Advance(Quick.Delay);
                return Client.Reconnections > before;
            },
            "the next back-end serves the client");
        await ServedAsync();
    }

    /// <summary>Starts a back-end that ends in the middle of its start; completes when it has ended.</summary>
    /// <param name="messages">After how many messages. With more than there are it serves the client.</param>
    internal Task BeginDoomed(int messages)
    {
        Begin(hook: new Doom(messages, () => _stop.Cancel()));
        return _serving;
    }

    /// <summary>Starts another back-end, which may be of another kind.</summary>
    internal void Begin(IVhostUserDevice? device = null, NetDeviceOptions? options = null, IVhostUserMessageHook? hook = null)
    {
        _stop.Dispose();
        _stop = new CancellationTokenSource();
        if (device is null)
            Device = new NetDevice(options ?? _options);
        _backend = new VhostUserBackend(device ?? Device, new VhostUserBackendOptions { DrainTimeout = TimeSpan.FromMilliseconds(50), MessageHook = hook });
        _serving = _listener is null ? _backend.ListenAsync(SocketPath, _stop.Token) : _backend.ConnectAsync(SocketPath, _stop.Token);
    }

    public async ValueTask DisposeAsync()
    {
        if (Client is not null)
            await Client.DisposeAsync().InTime();
        await EndAsync();
        if (_listener is not null)
            await _listener.DisposeAsync();
        _stop.Dispose();
        _socket.Dispose();
    }

    private Task ServedAsync() => Eventually.TrueAsync(() => Device.Ports.Take(Client.Senders.Count).All(port => port.IsStarted));

    /// <summary>Says when a number of messages has come.</summary>
    private sealed class Doom(int messages, Action come) : IVhostUserMessageHook
    {
        private int _left = messages;

        public MessageDecision Before(VhostUserMessage message, NegotiatedState state)
        {
            if (_left-- == 0)
                come();
            return MessageDecision.NotHandled;
        }
    }
}
