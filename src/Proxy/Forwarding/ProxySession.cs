using System.Runtime.ExceptionServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Proxy;

/// <summary>One front-end and one back-end, from the first message until one of them has gone.</summary>
/// <remarks>Threading: its pumps run beside each other; what they share is under one lock.</remarks>
internal sealed class ProxySession : IDisposable
{
    /// <summary>Ends of other channels that are told: a front-end may open them again and again.</summary>
    private const int MostEnds = 16;

    private readonly Lock _gate = new();
    private readonly int _number;
    private readonly VhostUserProxy _proxy;
    private readonly FaultPlan _faults;
    private readonly Conversation _conversation = new();
    private readonly ChannelPair _main;
    private readonly VhostUserConnection _frontEnd;
    private readonly List<(ChannelPair Pair, Task Running)> _channels = [];
    private readonly List<string> _channelEnds = [];
    private readonly CancellationTokenSource _ends = new();

    /// <summary>What the observer has thrown at a message of another channel.</summary>
    private ExceptionDispatchInfo? _failure;

    internal ProxySession(VhostUserProxy proxy, int number, VhostUserConnection frontEnd, VhostUserConnection backEnd)
    {
        (_proxy, _number, _frontEnd) = (proxy, number, frontEnd);
        _faults = new FaultPlan(proxy.Options.Faults);
        _main = new ChannelPair(this, VhostUserChannel.Main, frontEnd, backEnd);
    }

    internal TimeProvider TimeProvider => _proxy.Options.TimeProvider;

    /// <summary>Hands messages on until one end has gone, or it is to stop, and closes the other.</summary>
    internal async Task<ProxySummary> RunAsync(CancellationToken stop)
    {
        using (stop.UnsafeRegister(static ends => ((CancellationTokenSource)ends!).Cancel(), _ends))
        {
            string end;
            try
            {
                end = await _main.RunAsync(_ends.Token).ConfigureAwait(false);
            }
            catch (ObserverException e)
            {
                ExceptionDispatchInfo.Throw(e.InnerException!);
                throw;
            }
            finally
            {
                await EndOthersAsync().ConfigureAwait(false);
            }

            _failure?.Throw();
            lock (_gate)
                return _conversation.Summarize(_number, end, [.. _channelEnds]);
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
                Payload = message.Payload,
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
        ProxyMessage passed = message with { Held = _proxy.Elapsed - message.At, Fault = string.Join(", ", rules.Select(static rule => rule.Text)) };
        lock (_gate)
            _conversation.Passed(passed);
        _proxy.Show(passed);
    }

    /// <summary>The socket of another channel goes through here too: the back-end is given one of ours in its place.</summary>
    internal async ValueTask TapAsync(PassingMessage message)
    {
        VhostUserChannel channel = (VhostUserRequest)message.Header.Request switch
        {
            VhostUserRequest.SetBackendReqFd => VhostUserChannel.Backend,
            VhostUserRequest.GpuSetSocket => VhostUserChannel.Gpu,
            _ => VhostUserChannel.Main,
        };
        if (channel == VhostUserChannel.Main || message.Descriptors.Count == 0 || IsOurs(message.Descriptors[0]) || TryAdopt(message.Descriptors[0], channel) is not { } frontEnd)
            return;
        SafeFileHandle? ours = null;
        VhostUserConnection backEnd;
        try
        {
            bool waits = (Libc.StatusFlags(message.Descriptors[0]) & Libc.O_NONBLOCK) == 0;
            (ours, SafeFileHandle theirs) = Libc.UnixSocketPair();
            message.Replace(0, theirs).Dispose(); // the message's from here on, whatever fails
            if (waits)
                Libc.SetBlocking(theirs); // back-ends count on it
            backEnd = VhostUserConnection.Adopt(ours, _proxy.Options.Connection(TimeSpan.Zero, channel));
        }
        catch
        {
            ours?.Dispose();
            await frontEnd.DisposeAsync().ConfigureAwait(false);
            throw;
        }

        ChannelPair pair = new(this, channel, frontEnd, backEnd);
        lock (_gate)
            _channels.Add((pair, RunOtherAsync(pair)));
    }

    private async Task RunOtherAsync(ChannelPair pair)
    {
        string end;
        try
        {
            end = await pair.RunAsync(_ends.Token).ConfigureAwait(false);
        }
        catch (ObserverException e)
        {
            _failure = ExceptionDispatchInfo.Capture(e.InnerException!);
            end = e.InnerException!.Message;
            await _ends.CancelAsync().ConfigureAwait(false);
        }

        lock (_gate)
        {
            _channels.RemoveAll(channel => channel.Pair == pair);
            if (_channelEnds.Count < MostEnds)
                _channelEnds.Add($"{pair.Channel}: {end}");
        }
    }

    private async Task EndOthersAsync()
    {
        await _ends.CancelAsync().ConfigureAwait(false);
        Task[] others;
        lock (_gate)
            others = [.. _channels.Select(static channel => channel.Running)];
        await Task.WhenAll(others).ConfigureAwait(false);
    }

    /// <summary>A peer that hands over its end of a connection of this session keeps that from ending with itself; whoever gets it says what he thinks of it.</summary>
    private bool IsOurs(SafeFileHandle socket)
    {
        if (_frontEnd.SharesListenerWith(socket))
            return true;
        ulong peer = Libc.PeerNumber(socket);
        lock (_gate)
            return _main.HasOtherEnd(peer) || _channels.Exists(channel => channel.Pair.HasOtherEnd(peer));
    }

    /// <summary>Null: it is no socket that is connected; whoever gets it says so.</summary>
    private VhostUserConnection? TryAdopt(SafeFileHandle socket, VhostUserChannel channel)
    {
        try
        {
            return VhostUserConnection.Adopt(Libc.Duplicate(socket), _proxy.Options.Connection(TimeSpan.Zero, channel));
        }
        catch (ArgumentException)
        {
            return null;
        }
    }
}
