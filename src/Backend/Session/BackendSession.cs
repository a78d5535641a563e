using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// One connection of a front-end: receive, check against the contract table, dispatch by topic, acknowledge. One message at a time, so every
/// acknowledgement is also a barrier for all that came before. The rings run elsewhere (<see cref="QueueWorker"/>).
/// </summary>
[SuppressMessage("Design", "CA1001", Justification = "What it holds ends with the session, in an order of its own: EndAsync.")]
internal sealed partial class BackendSession
{
    private const ulong Refused = 1;

    private readonly VhostUserConnection _connection;

    /// <summary>Whose queues these are, for the log.</summary>
    private readonly string _owner;
    private readonly IVhostUserDevice _device;
    private readonly DeviceTraits _traits;
    private readonly VhostUserBackendOptions _options;
    private readonly ILogger _logger;
    private readonly LogBudget _budget;
    private readonly VringState[] _vrings;
    private readonly QueueWorkerContext _workerContext;
    private readonly Func<bool> _somebodyWaits;
    private readonly HeldQueues _held;
    private readonly HeldTransfer _heldTransfer;
    private readonly BackendEvents _events;
    private readonly QueueCounters[] _counters;
    private readonly byte[] _acknowledgement = new byte[sizeof(ulong)];
    private NegotiatedState _state;
    private CancellationToken _stopping;

    /// <summary>No further message is received; the connection is closed when the rings are at rest, which the front-end takes it for.</summary>
    private readonly CancellationTokenSource _ends = new();

    /// <summary>Takes ownership of <paramref name="connection"/>. <paramref name="somebodyWaits"/> says whether another one waits for its turn.</summary>
    public BackendSession(VhostUserConnection connection, BackendCommon common, Func<bool> somebodyWaits)
    {
        _connection = connection;
        (_device, _traits, _options, _logger, _budget, _held, _heldTransfer, _events, _counters, IotlbCounters iotlb) = common;
        _iotlb = new DeviceIotlb(_options.IotlbEntries, Math.Max(LeastMisses, _device.QueueCount * MappedRing.MostMisses), iotlb, SayMisses);
        _ringIotlbs = [.. Enumerable.Range(0, _device.QueueCount).Select(_ => new RingIotlb(_iotlb, 2 * _options.IotlbEntries, _options.IotlbEntries / (4 * _device.QueueCount)))];
        _owner = _options.Name is { } name ? $"{name}, {connection.Name}" : connection.Name;
        _somebodyWaits = somebodyWaits;
        _vrings = [.. Enumerable.Range(0, _device.QueueCount).Select(index => new VringState(index))];
        _workerContext = new QueueWorkerContext(_device, _options, _logger, QueueBroke, LeftRefused, _budget);
        _state = new NegotiatedState(
            OfferedBits.Features(_device, _options), VirtioFeatures.None, OfferedBits.ProtocolFeatures(_device, _options), VhostUserProtocolFeatures.None);
        _shownState = new StrongBox<NegotiatedState>(_state);
    }

    /// <summary>Whether a message came.</summary>
    internal bool HasHeard { get; private set; }

    /// <summary>Whether it ended because the front-end broke the rules, or by an error for which nobody else is known to be to blame.</summary>
    internal bool BrokeRules { get; private set; }

    /// <summary>Serves the front-end until it goes away, breaks the rules or <paramref name="stopping"/> is cancelled. Does not throw. Whoever runs it tells that it has ended.</summary>
    public async Task RunAsync(CancellationToken stopping)
    {
        _stopping = stopping;
        await using ConfiguredAsyncDisposable stops = stopping.UnsafeRegister(static ends => ((CancellationTokenSource)ends!).Cancel(), _ends).ConfigureAwait(false);
        ServedSockets.Add(_connection);
        BackendLog.Connected(_logger, _connection.Name);
        _events.TellConnected(_connection.Name);
        try
        {
            await ReceiveAllAsync(_ends.Token).ConfigureAwait(false);
            BackendLog.Disconnected(_logger, _connection.Name);
        }
        catch (Exception e) when (e is VhostUserDisconnectedException || (e is OperationCanceledException && _ends.IsCancellationRequested))
        {
            BackendLog.Disconnected(_logger, _connection.Name);
        }
        catch (Exception e) when (e is IOException or TimeoutException)
        {
            BrokeRules = e is VhostUserProtocolException;
            LogClosed(e.Message);
        }
        catch (Exception e)
        {
            BrokeRules = true; // for all that is known: one that comes again and again is let in no sooner than others
            LogFailed(e);
        }

        await EndAsync().ConfigureAwait(false);
    }

    private async Task ReceiveAllAsync(CancellationToken stopping)
    {
        for (bool first = true; ; first = false)
        {
            using VhostUserMessage? message = await ReceiveBesideArrivalsAsync(first, stopping).ConfigureAwait(false);
            if (message is null)
            {
                ThrowIfPageOverdue();
                return;
            }

            HasHeard = true;
            if (_logger.IsEnabled(LogLevel.Trace))
                BackendLog.Received(_logger, MessageText.Describe(VhostUserChannel.Main, message.Header, message.Payload, message.DescriptorCount));

            // Decided before the handler runs: the message that negotiates REPLY_ACK is not itself acknowledged.
            bool acknowledge = WantsAcknowledgement(message.Header);
            Answer answer = await DecideAsync(message).ConfigureAwait(false);
            TellChanges();
            TellHook(message.Header, answer);
            await SendAnswerAsync(message.Header, answer, acknowledge, stopping).ConfigureAwait(false);
        }
    }

    private bool WantsAcknowledgement(in VhostUserHeader header)
    {
        if (!header.NeedsReply)
            return false;
        if (_state.Protocol.HasFlag(VhostUserProtocolFeatures.ReplyAck))
            return true;
        return MessageContracts.TryGet((VhostUserRequest)header.Request, out MessageContract? contract) && contract.Reply == ReplyRule.AlwaysWhenNeedReply;
    }

    private async ValueTask<Answer> DecideAsync(VhostUserMessage message)
    {
        if (_postcopy is { Listens: true } postcopy && await TakeConfirmationAsync(postcopy, message).ConfigureAwait(false) is { } confirmed)
            return confirmed;
        MessageCheck check = MessageValidator.CheckRequest(VhostUserChannel.Main, message.Header, message.DescriptorCount, _state);
        if (_options.MessageHook is { } hook && (check.IsValid || check.Violation == VhostUserViolation.UnknownRequest) && AskHook(hook, message) is { } answer)
            return answer;
        return check.IsValid ? await DispatchAsync(message).ConfigureAwait(false) : AnswerTo(check, message.Header);
    }

    private static Answer AnswerTo(in MessageCheck check, in VhostUserHeader header) => check.Violation switch
    {
        VhostUserViolation.UnknownRequest => Answer.Ignore(check.Violation, check.Explanation!),
        VhostUserViolation.BadVersion or VhostUserViolation.ReplyFlagInRequest or VhostUserViolation.ReservedFlags
            or VhostUserViolation.DescriptorsTruncated => Answer.Close(check.Violation, check.Explanation!),
        _ => Answer.Refuse(check.Violation, check.Explanation!),
    };

    private ValueTask SendAnswerAsync(VhostUserHeader request, Answer answer, bool acknowledge, CancellationToken stopping)
    {
        switch (answer.Kind)
        {
            case AnswerKind.Done:
                return acknowledge ? AcknowledgeAsync(request, 0, stopping) : ValueTask.CompletedTask;
            case AnswerKind.Reply when answer.Memory is { } memory:
                return SendMemoryAsync(request, answer.Payload, memory, stopping);
            case AnswerKind.Reply when answer.Descriptor is { } descriptor:
                return SendDescriptorAsync(request, answer.Payload, descriptor, stopping);
            case AnswerKind.Reply:
                return _connection.SendAsync(request.AsReply(answer.Payload.Length), answer.Payload, default, stopping);
            case AnswerKind.Ignore when !acknowledge && !_options.CloseOnUnknownRequest:
                if (_budget.TryTake())
                    BackendLog.Ignored(_logger, _connection.Name, answer.Explanation);
                return ValueTask.CompletedTask;
            case AnswerKind.Refuse or AnswerKind.Ignore when acknowledge && CanRefuse(request):
                LogRefused(answer.Explanation);
                return AcknowledgeAsync(request, Refused, stopping);
            default:
                throw new VhostUserProtocolException(answer.Violation, answer.Explanation);
        }
    }

    private async ValueTask SendMemoryAsync(VhostUserHeader request, ReadOnlyMemory<byte> payload, SharedMemory memory, CancellationToken stopping)
    {
        using (memory)
            await _connection.SendAsync(request.AsReply(payload.Length), payload, new SafeHandle[] { memory.Descriptor }, stopping).ConfigureAwait(false);
    }

    private async ValueTask SendDescriptorAsync(VhostUserHeader request, ReadOnlyMemory<byte> payload, SafeFileHandle descriptor, CancellationToken stopping)
    {
        using (descriptor)
            await _connection.SendAsync(request.AsReply(payload.Length), payload, new SafeHandle[] { descriptor }, stopping).ConfigureAwait(false);
    }

    /// <summary>A refusal is a u64. Where an answer is a u64 or as long as one, the front-end would take the refusal for an answer.</summary>
    private static bool CanRefuse(in VhostUserHeader request) =>
        !MessageContracts.TryGet((VhostUserRequest)request.Request, out MessageContract? contract)
        || contract.Reply != ReplyRule.Always
        || !contract.ReplyPayload.Contains(sizeof(ulong));

    private ValueTask AcknowledgeAsync(in VhostUserHeader request, ulong value, CancellationToken stopping)
    {
        new VhostUserU64(value).Write(_acknowledgement);
        return _connection.SendAsync(request.AsReply(sizeof(ulong)), _acknowledgement, default, stopping);
    }

    /// <summary>In this order: stop fetching and drain, let go of the memory, close descriptors, tell the device.</summary>
    private async Task EndAsync()
    {
        try
        {
            await StopAllVringsAsync().ConfigureAwait(false);
        }
        catch (TimeoutException e)
        {
            LogFailed(e);
        }

        _state = _state with { Features = VirtioFeatures.None };
        TellChanges();
        foreach (VringState vring in _vrings)
            vring.CloseDescriptors();
        await ForgetPostcopyAsync(isComplete: false).ConfigureAwait(false);
        _memory.Dispose();
        EndTranslations();
        ForgetInflightArea();
        ForgetLog();
        await CloseBackendChannelAsync().ConfigureAwait(false);
        await CloseGpuChannelAsync().ConfigureAwait(false);
        bool hasReturned = await EndTransferAsync().ConfigureAwait(false);
        ServedSockets.Remove(_connection);
        await _connection.DisposeAsync().ConfigureAwait(false);
        if (hasReturned)
            ResetDevice();
        else if (_transfer is { } transfer)
            _heldTransfer.Hold(transfer, ResetDevice);
    }

    private void ResetDevice()
    {
        CloseCryptoSessions();
        TryCallDevice(_device.Reset, out _);
    }

    /// <summary>Calls into the device; what it throws is an answer, not an accident.</summary>
    private bool TryCallDevice(Action call, out string failure)
    {
        try
        {
            call();
            failure = string.Empty;
            return true;
        }
        catch (Exception e)
        {
            failure = $": the device failed with {e.GetType().Name}: {e.Message}";
            BackendLog.DeviceFailed(_logger, e);
            return false;
        }
    }

    private void LogRefused(string explanation)
    {
        if (_budget.TryTake())
            BackendLog.Refused(_logger, _connection.Name, explanation);
    }

    private void LogFailed(Exception failure)
    {
        if (_budget.TryTake())
            BackendLog.SessionFailed(_logger, _connection.Name, failure);
    }

    private void LogClosed(string reason)
    {
        // What the transport says begins with the name of the connection already.
        string prefix = _connection.Name + ": ";
        if (reason.StartsWith(prefix, StringComparison.Ordinal))
            reason = reason[prefix.Length..];
        if (_budget.TryTake())
            BackendLog.Closed(_logger, _connection.Name, reason);
    }
}
