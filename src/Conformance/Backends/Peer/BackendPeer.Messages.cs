using System.Diagnostics;
using System.Runtime.InteropServices;
using Vhost.Protocol;

namespace Vhost.Conformance;

/// <content>Messages, and what is asked of the answers.</content>
internal sealed partial class BackendPeer
{
    /// <summary>A refusal that any word may meet.</summary>
    public const string Ended = "the connection was ended";

    public const VhostUserHeaderFlags Plain = VhostUserHeaderFlags.Version1;
    public const VhostUserHeaderFlags NeedReply = VhostUserHeaderFlags.Version1 | VhostUserHeaderFlags.NeedReply;
    private const uint ReplyFlags = 5;

    private bool AcksReplies => (State.Protocol & VhostUserProtocolFeatures.ReplyAck) != 0;

    public static byte[] U64(ulong value) => BitConverter.GetBytes(value);

    public static byte[] RingState(uint index, uint number) => Bytes(new VhostUserVringState(index, number));

    public static byte[] RingWord(int index, bool noDescriptor = false) => Bytes(VhostUserVringDescriptor.Create(index, noDescriptor));

    public static byte[] Bytes<T>(T payload)
        where T : struct, IVhostUserPayload<T>
    {
        byte[] bytes = new byte[payload.EncodedSize];
        payload.Write(bytes);
        return bytes;
    }

    /// <summary>Sends a message without NEED_REPLY and waits for nothing.</summary>
    public Task SendAsync(VhostUserRequest request, ReadOnlyMemory<byte> payload = default, params SafeHandle[] descriptors) =>
        Main.SendAsync((uint)request, Plain, payload, descriptors);

    /// <summary>Sends a message that has a reply of its own, and returns it: same code, flags of exactly 5.</summary>
    public async Task<ReceivedMessage> AskForAsync(VhostUserRequest request, ReadOnlyMemory<byte> payload = default, params SafeHandle[] descriptors)
    {
        await SendAsync(request, payload, descriptors).ConfigureAwait(false);
        return await ReplyToAsync(request).ConfigureAwait(false);
    }

    /// <summary>As <see cref="AskForAsync"/>, for a reply of 8 bytes.</summary>
    public async Task<ulong> AskU64Async(VhostUserRequest request, ReadOnlyMemory<byte> payload = default)
    {
        using ReceivedMessage reply = await AskForAsync(request, payload).ConfigureAwait(false);
        return reply.U64;
    }

    /// <summary>The next message, which must be the reply to a request.</summary>
    public async Task<ReceivedMessage> ReplyToAsync(VhostUserRequest request)
    {
        string name = MessageContracts.NameOf(request);
        ReceivedMessage reply = await Main.ReceiveAsync($"a reply to {name}").ConfigureAwait(false);
        try
        {
            Expect.That(reply.Header.Request == (uint)request, $"a reply to {name}", $"one to {reply.Name}");
            Expect.That((uint)reply.Header.Flags == ReplyFlags, $"a reply to {name} with flags 0x5", $"flags 0x{(uint)reply.Header.Flags:x}");
            return reply;
        }
        catch (CaseEndedException)
        {
            reply.Dispose();
            throw;
        }
    }

    /// <summary>All messages before have been handled once this returns: a back-end handles one after the other.</summary>
    public Task BarrierAsync() => AskU64Async(VhostUserRequest.GetFeatures);

    /// <summary>Says a message, asks for an acknowledgement where one can be had, and says what the peer did. Works whatever the peer does but falling silent.</summary>
    public Task<Answer> SayAsync(VhostUserRequest request, ReadOnlyMemory<byte> payload = default, params SafeHandle[] descriptors) =>
        SayAsync((uint)request, payload, descriptors);

    /// <inheritdoc cref="SayAsync(VhostUserRequest, ReadOnlyMemory{byte}, SafeHandle[])"/>
    public async Task<Answer> SayAsync(uint code, ReadOnlyMemory<byte> payload, params SafeHandle[] descriptors)
    {
        await Main.SendAsync(code, AcksReplies && !HasOwnReply(code) ? NeedReply : Plain, payload, descriptors).ConfigureAwait(false);
        return await HearAsync(code).ConfigureAwait(false);
    }

    /// <summary>What the peer does about a message with this code that was sent.</summary>
    public async Task<Answer> HearAsync(uint code)
    {
        const uint barrier = (uint)VhostUserRequest.GetFeatures;
        await Main.SendAsync(barrier, Plain, default).ConfigureAwait(false);
        using ReceivedMessage? first = await Main.TryReceiveAsync("an answer, or the end of the connection").ConfigureAwait(false);
        if (first is null)
            return new(AnswerKind.Ended, [], 0);
        if (first.Header.Request == barrier && code != barrier)
            return new(AnswerKind.Silent, [], 0);
        Expect.That(first.Header.Request == code, $"a reply to {MessageContracts.NameOf(VhostUserChannel.Main, code)}", $"one to {first.Name}");
        using ReceivedMessage? second = await Main.TryReceiveAsync("a reply to GET_FEATURES").ConfigureAwait(false);
        if (second is null)
            return new(AnswerKind.Ended, first.Payload, first.Descriptors.Count);
        Expect.That(second.Header.Request == barrier, "one answer to each message", $"a second one, to {second.Name}");
        return AnswerOf(code, first);
    }

    /// <summary>Says an honest message that must be carried out. A peer without acknowledgements must at least go on.</summary>
    public async Task AcceptedAsync(VhostUserRequest request, ReadOnlyMemory<byte> payload = default, params SafeHandle[] descriptors)
    {
        Answer answer = await SayAsync(request, payload, descriptors).ConfigureAwait(false);
        bool accepted = answer.Kind == AnswerKind.Accepted || (answer.Kind == AnswerKind.Silent && !AcksReplies) || (answer.Kind == AnswerKind.Replied && HasOwnReply((uint)request));
        Expect.That(accepted, $"{MessageContracts.NameOf(request)} is carried out{(AcksReplies ? " and acknowledged with 0" : "")}", answer.Text);
    }

    /// <summary>Says a message that must not be carried out. In which way it is refused is the peer's choice, which makes the verdict REJECT.</summary>
    public async Task RefusedAsync(VhostUserRequest request, ReadOnlyMemory<byte> payload = default, params SafeHandle[] descriptors) =>
        Refused((uint)request, await SayAsync(request, payload, descriptors).ConfigureAwait(false));

    /// <summary>As <see cref="RefusedAsync"/>, of an answer that is there already.</summary>
    public void Refused(uint code, Answer answer)
    {
        bool refused = answer.Kind is AnswerKind.Refused or AnswerKind.Ended
            || (answer.Kind == AnswerKind.Silent && !IsAnswerDue(code))
            || (answer.Kind == AnswerKind.Replied && IsRefusal(code, answer.Payload));
        Expect.That(refused, $"{MessageContracts.NameOf(VhostUserChannel.Main, code)} is refused: a reply or an acknowledgement that says so, or the end of the connection", answer.Text);
        NoteRefusal(answer.Text);
    }

    /// <summary>Says a message that the peer may carry out or refuse, as long as it answers where an answer is due and goes on serving.</summary>
    public async Task ToleratedAsync(VhostUserRequest request, ReadOnlyMemory<byte> payload = default, params SafeHandle[] descriptors) =>
        Tolerated((uint)request, await SayAsync(request, payload, descriptors).ConfigureAwait(false));

    /// <summary>As <see cref="ToleratedAsync"/>, of an answer that is there already.</summary>
    public void Tolerated(uint code, Answer answer)
    {
        ExpectAnswer(code, answer);
        if (answer.Kind is AnswerKind.Refused or AnswerKind.Ended)
            NoteRefusal(answer.Text);
    }

    /// <summary>Silence is no answer where one is due: to a message with a reply of its own, and to one for which an acknowledgement was asked.</summary>
    public void ExpectAnswer(uint code, Answer answer) => Expect.That(
        answer.Kind != AnswerKind.Silent || !IsAnswerDue(code), $"an answer to {MessageContracts.NameOf(VhostUserChannel.Main, code)}, or the end of the connection", answer.Text);

    /// <summary>Whether the connection goes on after input that may end it, which is a refusal. Asked twice: some peers answer one more message before they end.</summary>
    public async Task<bool> GoesOnAsync() =>
        await AnswersAsync().ConfigureAwait(false) && await AnswersAsync().ConfigureAwait(false);

    /// <summary>The connection must end; in which moment is the peer's choice. The verdict is REJECT.</summary>
    public async Task EndsAsync(string why)
    {
        Expect.That(await Main.EndsAsync().ConfigureAwait(false), $"the connection is ended: {why}", "it goes on");
        NoteRefusal(Ended);
    }

    private async Task<bool> AnswersAsync()
    {
        long begun = Stopwatch.GetTimestamp();
        await Main.SendAsync((uint)VhostUserRequest.GetFeatures, Plain, default).ConfigureAwait(false);
        while (await Main.TryReceiveAsync("a reply to GET_FEATURES, or the end of the connection").ConfigureAwait(false) is { } message)
        {
            uint code = message.Header.Request;
            message.Dispose();
            if (code == (uint)VhostUserRequest.GetFeatures)
                return true;
            NoteRefusal($"an answer to {MessageContracts.NameOf(VhostUserChannel.Main, code)}");
            Expect.That(Stopwatch.GetElapsedTime(begun) < Patience, "a reply to GET_FEATURES", "other messages without end");
        }

        NoteRefusal(Ended);
        return false;
    }

    // Of what SayAsync says: it asks for an acknowledgement wherever one can be had.
    private bool IsAnswerDue(uint code) => AcksReplies || HasOwnReply(code);

    private static bool HasOwnReply(uint code) =>
        MessageContracts.TryGet(VhostUserChannel.Main, code, out MessageContract? contract) && contract.Reply == ReplyRule.Always;

    // GET_CONFIG is refused by a reply without content, GET_INFLIGHT_FD by one without a size, both also by a negative acknowledgement in place of the reply; others have no such word.
    private static bool IsRefusal(uint code, byte[] payload) => (VhostUserRequest)code switch
    {
        VhostUserRequest.GetConfig => payload.Length is 0 or 12 || IsNegative(payload) || (payload.Length > 12 && BitConverter.ToUInt32(payload, 4) == 0),
        VhostUserRequest.SetDeviceStateFd => payload.Length == VhostUserU64.Size && (BitConverter.ToUInt64(payload) & 0xff) != 0,
        VhostUserRequest.GetInflightFd => payload.Length < 8 || IsNegative(payload) || BitConverter.ToUInt64(payload) == 0,
        VhostUserRequest.CheckDeviceState or VhostUserRequest.PostcopyEnd => IsNegative(payload),
        VhostUserRequest.GetSharedObject => true,
        _ => payload.Length == 0,
    };

    private static bool IsNegative(byte[] payload) => payload.Length == VhostUserU64.Size && BitConverter.ToUInt64(payload) != 0;

    private static Answer AnswerOf(uint code, ReceivedMessage reply)
    {
        AnswerKind kind = HasOwnReply(code) || reply.Payload.Length != VhostUserU64.Size ? AnswerKind.Replied
            : reply.U64 == 0 ? AnswerKind.Accepted : AnswerKind.Refused;
        return new(kind, reply.Payload, reply.Descriptors.Count);
    }
}
