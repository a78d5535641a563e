using Vhost.Protocol;

namespace Vhost.Conformance.Tests.Mutants;

/// <summary>One front-end: messages come in one at a time, are judged by the contracts of the protocol, carried out under the gate that the rings share, and answered.</summary>
internal sealed partial class HandSession : IAsyncDisposable
{
    private readonly VhostUserConnection _connection;
    private readonly CancellationTokenSource _stop;
    private readonly SemaphoreSlim _gate = new(1, 1);
    private readonly HandVring[] _vrings;
    private readonly HandTransfer _transfer;
    private NegotiatedState _state;
    private int _handled;

    public HandSession(HandBackend backend, VhostUserConnection connection)
    {
        (Backend, _connection) = (backend, connection);
        _stop = CancellationTokenSource.CreateLinkedTokenSource(backend.Stopping);
        _vrings = [.. Enumerable.Range(0, HandBackend.QueueCount).Select(i => new HandVring(this, i))];
        (Space, Iotlb, Log, Channel, _transfer) = (new(this), new(this), new(this), new(this), new(this));
        _state = Is(Sin.CarriesStateToNextPeer) ? backend.Last : default;
        _state = _state with { Offered = OfferedFeatures, OfferedProtocol = OfferedProtocolFeatures };
    }

    public HandBackend Backend { get; }

    public HandSpace Space { get; }

    public HandIotlb Iotlb { get; }

    public HandLog Log { get; }

    public HandChannel Channel { get; }

    public HandInflight? Inflight { get; private set; }

    public CancellationToken Stopping => _stop.Token;

    public bool UsesIommu => Has(VirtioFeatures.AccessPlatform);

    /// <summary>A sin that hangs: whoever has the gate keeps it.</summary>
    public bool IsWedged { get; set; }

    public bool Is(Sin sin) => Backend.Sin == sin;

    public bool Has(VirtioFeatures feature) => (_state.Features & feature) != 0;

    public void End()
    {
        _stop.Cancel();
        _connection.Abort();
    }

    /// <summary>Serves the front-end until it goes, or breaks a rule without wanting to know.</summary>
    public async Task RunAsync()
    {
        while (await ReceiveAsync() is { } message)
        {
            using (message)
            {
                if (!await HandleAsync(message)) return;
                _handled++;
            }
        }
    }

    /// <summary>Does something under the gate that rings and messages share.</summary>
    /// <param name="action">What.</param>
    /// <param name="sin">Milliseconds by which it comes too late.</param>
    public async Task LaterAsync(Action action, int sin = 0)
    {
        try
        {
            if (sin > 0) await Task.Delay(sin, Stopping); // the delay is the sin
            await _gate.WaitAsync(Stopping);
            await RunHeldAsync(action);
        }
        catch (Exception e) when (e is OperationCanceledException or ObjectDisposedException or HandFaultException or HandMissException)
        {
        }
        catch (Exception e)
        {
            Backend.Surprise(e);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _gate.WaitAsync(TimeSpan.FromSeconds(2));
        Backend.Last = _state;
        if (Is(Sin.ErasesDiskBetweenPeers)) Backend.Disk.Erase();
        foreach (HandVring vring in _vrings) vring.Dispose();
        await Channel.DisposeAsync();
        Log.Dispose();
        Inflight?.Dispose();
        Space.Dispose();
        await _connection.DisposeAsync();
    }

    private async Task RunHeldAsync(Action action)
    {
        try
        {
            action();
            if (IsWedged) await Task.Delay(Timeout.Infinite, Stopping); // the sin: it never goes on
        }
        finally
        {
            _gate.Release();
        }
    }

    private async ValueTask<VhostUserMessage?> ReceiveAsync()
    {
        ValueTask<VhostUserMessage?> next = _connection.ReceiveAsync(Stopping);
        bool pipelined = next.IsCompletedSuccessfully && _handled > 0;
        VhostUserMessage? message = await next;
        if (!pipelined || !Is(Sin.LosesPipelinedMessage)) return message;
        message?.Dispose();
        return message is null ? null : await _connection.ReceiveAsync(Stopping);
    }

    private async Task<bool> HandleAsync(VhostUserMessage message)
    {
        if (Backend.IsDeaf) await Task.Delay(Timeout.Infinite, Stopping); // the sin: whoever connected meanwhile waits in vain
        NegotiatedState before = _state;
        VhostUserHeader header = message.Header;
        if (!IsSound(header)) return false;
        bool allowed = IsAllowed(message);
        if (allowed && Is(Sin.AcknowledgesBeforeWork) && await AnswersEarlyAsync(header, before)) return await WorkLateAsync(message);
        _stateOutcome = allowed && header.Request == (uint)VhostUserRequest.CheckDeviceState && await _transfer.OutcomeAsync();
        HandAnswer answer = HandAnswer.Refused;
        await _gate.WaitAsync(Stopping);
        await RunHeldAsync(() => answer = Judge(message, allowed));
        if (!answer.IsDone) Spill(message);
        return await AnswerAsync(header, before, answer);
    }

    private HandAnswer Judge(VhostUserMessage message, bool allowed)
    {
        HandAnswer answer = allowed ? Dispatch(message) : HandAnswer.Refused;
        if (!allowed && Wedges(message.Header)) IsWedged = true;
        return answer;
    }

    private bool Wedges(VhostUserHeader header) => MessageContracts.TryGet(VhostUserChannel.Main, header.Request, out _)
        ? Is(Sin.UnofferedMessageWedges) && header.Request == (uint)VhostUserRequest.SendRarp
        : Is(Sin.UnknownMessageWedges);

    /// <summary>Descriptors that came with a message that was refused; without the sin they are closed with it.</summary>
    private void Spill(VhostUserMessage message)
    {
        if (!Is(Sin.LeaksRefusedDescriptors)) return;
        for (int i = 0; i < message.DescriptorCount; i++)
        {
            try
            {
                Backend.Leak(message.TakeDescriptor(i));
            }
            catch (InvalidOperationException)
            {
                // Taken before.
            }
        }
    }

    private async Task<bool> AnswersEarlyAsync(VhostUserHeader header, NegotiatedState before)
    {
        bool early = MessageContracts.TryGet(VhostUserChannel.Main, header.Request, out MessageContract? contract)
            && contract.Reply == ReplyRule.AckOnly && contract.IsAnswered(header, before);
        if (early) await SendAsync(header, HandAnswer.Reply(0));
        return early;
    }

    private async Task<bool> WorkLateAsync(VhostUserMessage message)
    {
        await Task.Delay(100, Stopping); // the delay is the sin: the front-end believes the work done
        await _gate.WaitAsync(Stopping);
        await RunHeldAsync(() => Dispatch(message));
        return true;
    }

    /// <summary>Answers by the contract of the request.</summary>
    /// <returns>False: the connection ends, since the front-end could not be told otherwise.</returns>
    private async Task<bool> AnswerAsync(VhostUserHeader request, NegotiatedState before, HandAnswer answer)
    {
        bool known = MessageContracts.TryGet(VhostUserChannel.Main, request.Request, out MessageContract? contract);
        bool acknowledges = (before.Protocol & VhostUserProtocolFeatures.ReplyAck) != 0;
        bool wanted = known ? contract!.IsAnswered(request, before) : request.NeedsReply && acknowledges;
        if (answer.Payload is not null)
        {
            await SendAsync(request, answer);
            if (Is(Sin.AcknowledgesReplyToo) && request.NeedsReply && acknowledges) await SendAsync(request, HandAnswer.Reply(0));
            return true;
        }

        if (known && contract!.Reply == ReplyRule.Always) return false;
        bool silent = SaysNothing(request, answer);
        if (wanted && !silent) await SendAsync(request, HandAnswer.Reply(CodeOf(answer)));
        if (!wanted && SpeaksUnasked(request, acknowledges)) await SendAsync(request, HandAnswer.Reply(CodeOf(answer)));
        return answer.IsDone || wanted || ShowsInStatus(request);
    }

    /// <summary>That features were refused is read in the status, which lacks FEATURES_OK then.</summary>
    private bool ShowsInStatus(VhostUserHeader request) =>
        request.Request == (uint)VhostUserRequest.SetFeatures && (_state.Protocol & VhostUserProtocolFeatures.Status) != 0;

    private bool SaysNothing(VhostUserHeader request, HandAnswer answer) => Is(Sin.NeverAcknowledges)
        || (Is(Sin.AcknowledgesRefusalsOnly) && answer.IsDone)
        || (Is(Sin.SetLogBaseUnanswered) && request.Request == (uint)VhostUserRequest.SetLogBase)
        || (Is(Sin.TranslationUnanswered) && request.Request == (uint)VhostUserRequest.IotlbMsg);

    private bool SpeaksUnasked(VhostUserHeader request, bool acknowledges) => (Is(Sin.AcknowledgesUnasked) && acknowledges && !request.NeedsReply)
        || (Is(Sin.AcknowledgesWithoutFeature) && !acknowledges && request.NeedsReply)
        || (Is(Sin.RepliesToSetOwner) && request.Request == (uint)VhostUserRequest.SetOwner);

    private ulong CodeOf(HandAnswer answer)
    {
        if (answer.IsDone) return Is(Sin.AcknowledgesSuccessAsFailure) ? 1UL : 0;
        return Is(Sin.AcknowledgesFailureAsSuccess) ? 0UL : 1;
    }

    private async Task SendAsync(VhostUserHeader request, HandAnswer answer)
    {
        byte[] payload = answer.Payload!;
        if (Is(Sin.ReplyTooShort) && payload.Length > 0) payload = payload[..^1];
        if (Is(Sin.ReplyTooLong)) payload = [.. payload, 0];
        using SharedMemory? memory = answer.Memory;
        bool attached = memory is not null && !Is(Sin.AreaWithoutDescriptor);
        await _connection.SendAsync(ReplyHeader(request, payload.Length), payload, attached ? new[] { memory!.Descriptor } : default, Stopping);
    }

    private VhostUserHeader ReplyHeader(VhostUserHeader request, int length)
    {
        VhostUserHeader header = request.AsReply(length);
        if (Is(Sin.ReplyWithoutVersion)) header = header with { Flags = VhostUserHeaderFlags.Reply };
        if (Is(Sin.ReplyWithoutReplyFlag)) header = header with { Flags = VhostUserHeaderFlags.Version1 };
        if (Is(Sin.ReplyKeepsNeedReply)) header = header with { Flags = header.Flags | VhostUserHeaderFlags.NeedReply };
        if (Is(Sin.ReplyWithReservedFlag)) header = header with { Flags = header.Flags | (VhostUserHeaderFlags)0x10 };
        return Is(Sin.ReplyNamesOtherRequest) ? header with { Request = header.Request + 1 } : header;
    }
}
