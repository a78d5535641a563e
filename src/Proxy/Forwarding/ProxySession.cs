using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Proxy;

/// <summary>One front-end and one back-end, from the first message until one of them has gone.</summary>
/// <remarks>Threading: its pumps run beside each other; what they share is under one lock, under which observers are called too.</remarks>
internal sealed class ProxySession : IDisposable
{
    private readonly Lock _gate = new();
    private readonly int _number;
    private readonly VhostUserProxy _proxy;
    private readonly FaultPlan _faults;
    private readonly Conversation _conversation = new();
    private readonly List<VhostUserConnection> _connections;
    private readonly List<Task> _channels = [];
    private readonly CancellationTokenSource _ends = new();

    internal ProxySession(VhostUserProxy proxy, int number, VhostUserConnection frontEnd, VhostUserConnection backEnd)
    {
        (_proxy, _number) = (proxy, number);
        _faults = new FaultPlan(proxy.Options.Faults);
        _connections = [frontEnd, backEnd];
    }

    internal TimeProvider TimeProvider => _proxy.Options.TimeProvider;

    /// <summary>Hands messages on until one end has gone, and closes the other.</summary>
    internal async Task<ProxySummary> RunAsync(CancellationToken stop)
    {
        using (stop.UnsafeRegister(static ends => ((CancellationTokenSource)ends!).Cancel(), _ends))
        {
            string end = await RunChannelAsync(VhostUserChannel.Main, _connections[0], _connections[1]).ConfigureAwait(false);
            await _ends.CancelAsync().ConfigureAwait(false);
            Task[] others;
            lock (_gate)
                others = [.. _channels];
            await Task.WhenAll(others).ConfigureAwait(false);
            stop.ThrowIfCancellationRequested();
            lock (_gate)
                return _conversation.Summarize(_number, end);
        }
    }

    public void Dispose() => _ends.Dispose();

    /// <summary>A message has come.</summary>
    internal ProxyMessage Arrived(VhostUserChannel channel, ProxySide side, PassingMessage message)
    {
        lock (_gate)
        {
            return _conversation.Note(new ProxyMessage
            {
                Number = _proxy.NextNumber(),
                Session = _number,
                Channel = channel,
                From = side,
                Header = message.Header,
                Payload = message.Payload.ToArray(),
                Descriptors = [.. message.Descriptors.Select(ProxyDescriptor.Of)],
                At = _proxy.Elapsed,
            });
        }
    }

    /// <summary>The rules that it meets.</summary>
    internal List<FaultRule> Faults(VhostUserChannel channel, in VhostUserHeader header)
    {
        lock (_gate)
            return _faults.Take(channel, header);
    }

    /// <summary>It was handed on, or what the rules want instead.</summary>
    internal void Passed(ProxyMessage message, IReadOnlyList<FaultRule> rules)
    {
        lock (_gate)
        {
            ProxyMessage passed = message with { Held = _proxy.Elapsed - message.At, Fault = string.Join(", ", rules.Select(static rule => rule.Text)) };
            _conversation.Passed(passed);
            _proxy.Options.Observer?.Invoke(passed);
        }
    }

    /// <summary>The socket of another channel goes through here too: the back-end is given one of ours in its place.</summary>
    internal void Tap(PassingMessage message)
    {
        VhostUserChannel channel = (VhostUserRequest)message.Header.Request switch
        {
            VhostUserRequest.SetBackendReqFd => VhostUserChannel.Backend,
            VhostUserRequest.GpuSetSocket => VhostUserChannel.Gpu,
            _ => VhostUserChannel.Main,
        };
        if (channel == VhostUserChannel.Main || message.Descriptors.Count == 0 || TryAdopt(message.Descriptors[0]) is not { } frontEnd)
            return;
        (SafeFileHandle ours, SafeFileHandle theirs) = Libc.UnixSocketPair();
        VhostUserConnection backEnd = VhostUserConnection.Adopt(ours, _proxy.Options.Connection(TimeSpan.Zero));
        message.Replace(0, theirs).Dispose();
        lock (_gate)
        {
            _connections.AddRange([frontEnd, backEnd]);
            _channels.Add(RunChannelAsync(channel, frontEnd, backEnd));
        }
    }

    /// <summary>Null: it is no socket that is connected; whoever gets it says so.</summary>
    private VhostUserConnection? TryAdopt(SafeFileHandle socket)
    {
        try
        {
            return VhostUserConnection.Adopt(Libc.Duplicate(socket), _proxy.Options.Connection(TimeSpan.Zero));
        }
        catch (ArgumentException)
        {
            return null;
        }
    }

    /// <returns>How it ended, in words.</returns>
    private async Task<string> RunChannelAsync(VhostUserChannel channel, VhostUserConnection frontEnd, VhostUserConnection backEnd)
    {
        Task<string> fromFrontEnd = PumpAsync(channel, ProxySide.FrontEnd, frontEnd, backEnd);
        Task<string> fromBackEnd = PumpAsync(channel, ProxySide.BackEnd, backEnd, frontEnd);
        string end = await (await Task.WhenAny(fromFrontEnd, fromBackEnd).ConfigureAwait(false)).ConfigureAwait(false);
        await frontEnd.DisposeAsync().ConfigureAwait(false);
        await backEnd.DisposeAsync().ConfigureAwait(false);
        await Task.WhenAll(fromFrontEnd, fromBackEnd).ConfigureAwait(false);
        return end;
    }

    private async Task<string> PumpAsync(VhostUserChannel channel, ProxySide side, VhostUserConnection from, VhostUserConnection to)
    {
        await Task.CompletedTask.ConfigureAwait(ConfigureAwaitOptions.ForceYielding); // not under the lock of whoever has opened the channel
        string name = side == ProxySide.FrontEnd ? "the front-end" : "the back-end";
        try
        {
            await new MessagePump(this, channel, side, from, to).RunAsync(_ends.Token).ConfigureAwait(false);
            return $"{name} closed the connection, or a fault did";
        }
        catch (OperationCanceledException)
        {
            return "the proxy was stopped";
        }
        catch (Exception e) when (e is IOException or TimeoutException or ObjectDisposedException)
        {
            return $"{name}: {e.Message}";
        }
    }
}
