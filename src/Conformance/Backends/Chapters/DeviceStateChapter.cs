using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>What the device itself knows, saved and loaded.</summary>
internal static class DeviceStateChapter
{
    private const string Check = "vhost-user: VHOST_USER_CHECK_DEVICE_STATE";

    private static readonly CaseNeeds _needs = CaseNeeds.Working with { Protocol = VhostUserProtocolFeatures.DeviceState };

    public static Chapter Cases { get; } = new("device-state", "vhost-user: Migrating back-end state, VHOST_USER_SET_DEVICE_STATE_FD", _needs)
    {
        { "save", Must, "The state is saved through a pipe up to its end, and CHECK_DEVICE_STATE answers 0", SaveNewAsync },
        { "save-after-work", Must, "The state of a device that worked and was stopped is saved", SaveAfterWorkAsync },
        { "save-twice", Must, "The state may be saved twice", SaveTwiceAsync },
        { "serves-after-save", Must, "A device whose state was saved can be started again", ServesAfterSaveAsync },
        { "load", Must, "A state that was saved is loaded on the next connection, and the device serves", LoadAsync },
        { "load-same", Must, "A state that was saved is loaded on the same connection", LoadSameAsync },
        { "load-slow", Must, "A state that comes byte by byte is loaded", LoadSlowAsync },
        { "load-cut", Should, "A state that is cut off is refused by CHECK_DEVICE_STATE", LoadCutAsync, null, Check },
        { "load-garbage", Should, "A state of random bytes is refused by CHECK_DEVICE_STATE", LoadGarbageAsync, null, Check },
        { "b34-running", Robustness, "B34: A state is not transferred while rings run", RunningAsync },
        { "b34-check-first", Robustness, "B34: CHECK_DEVICE_STATE without a transfer is answered or ends the connection", CheckFirstAsync, null, Check },
        { "b34-direction", Robustness, "B34: A direction that nobody knows is refused", static peer => OddAsync(peer, 7, 0) },
        { "b34-phase", Robustness, "B34: A phase that nobody knows is refused", static peer => OddAsync(peer, 0, 7) },
        { "b34-closed", Robustness, "B34: A state that is saved to a pipe nobody reads ends in a CHECK_DEVICE_STATE that is answered", ClosedAsync, null, Check },
        { "b34-wrong-end", Robustness, "B34: The wrong end of a pipe is refused at once or by CHECK_DEVICE_STATE", WrongEndAsync },
    };

    private static byte[] Transfer(uint direction, uint phase = 0) => [.. BitConverter.GetBytes(direction), .. BitConverter.GetBytes(phase)];

    private static (SafeFileHandle Reader, SafeFileHandle Writer) Pipe(BackendPeer peer)
    {
        (SafeFileHandle reader, SafeFileHandle writer) = Libc.Pipe();
        return (peer.Own(reader), peer.Own(writer));
    }

    /// <summary>Begins a transfer, and returns this side's end of the pipe: that of ours, or the one that the peer sent instead.</summary>
    private static async Task<SafeFileHandle> BeginAsync(BackendPeer peer, VhostUserTransferDirection direction)
    {
        (SafeFileHandle reader, SafeFileHandle writer) = Pipe(peer);
        bool saves = direction == VhostUserTransferDirection.Save;
        using ReceivedMessage reply = await peer.AskForAsync(VhostUserRequest.SetDeviceStateFd, Transfer((uint)direction), saves ? writer : reader).ConfigureAwait(false);
        VhostUserDeviceStateReply said = new(reply.U64);
        Expect.Equal((byte)0, said.Error, "the error in the reply to SET_DEVICE_STATE_FD");
        (saves ? writer : reader).Dispose();
        if (said.NoDescriptor)
            return saves ? reader : writer;
        Expect.That(reply.Descriptors.Count == 1, "a descriptor, since bit 8 is clear", "none");
        return peer.Own(Libc.Duplicate(reply.Descriptors[0]));
    }

    private static async Task<byte[]> SaveAsync(BackendPeer peer)
    {
        SafeFileHandle end = await BeginAsync(peer, VhostUserTransferDirection.Save).ConfigureAwait(false);
        byte[] state = await StatePipe.ReadAsync(end, peer.Patience).ConfigureAwait(false);
        await CheckAsync(peer).ConfigureAwait(false);
        return state;
    }

    private static async Task LoadedAsync(BackendPeer peer, byte[] state, int piece = int.MaxValue)
    {
        SafeFileHandle end = await BeginAsync(peer, VhostUserTransferDirection.Load).ConfigureAwait(false);
        await StatePipe.WriteAsync(end, state, piece, peer.Patience).ConfigureAwait(false);
        await CheckAsync(peer).ConfigureAwait(false);
    }

    private static async Task CheckAsync(BackendPeer peer) =>
        Expect.Equal(0UL, await peer.AskU64Async(VhostUserRequest.CheckDeviceState).ConfigureAwait(false), "the answer to CHECK_DEVICE_STATE");

    private static async Task SaveNewAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        await SaveAsync(peer).ConfigureAwait(false);
    }

    private static async Task<byte[]> WorkedAndSavedAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await peer.StopAllAsync().ConfigureAwait(false);
        return await SaveAsync(peer).ConfigureAwait(false);
    }

    private static Task SaveAfterWorkAsync(BackendPeer peer) => WorkedAndSavedAsync(peer);

    private static async Task SaveTwiceAsync(BackendPeer peer)
    {
        byte[] first = await WorkedAndSavedAsync(peer).ConfigureAwait(false);
        byte[] second = await SaveAsync(peer).ConfigureAwait(false);
        Expect.Equal(first.Length, second.Length, "the length of the state");
    }

    private static async Task ServesAfterSaveAsync(BackendPeer peer)
    {
        await WorkedAndSavedAsync(peer).ConfigureAwait(false);
        await peer.WorkAsync(await peer.StartRingsAsync().ConfigureAwait(false)).ConfigureAwait(false);
    }

    private static async Task LoadAsync(BackendPeer peer)
    {
        byte[] state = await WorkedAndSavedAsync(peer).ConfigureAwait(false);
        await peer.CloseAsync().ConfigureAwait(false);
        BackendPeer next = await peer.ConnectAnotherAsync().ConfigureAwait(false);
        await next.NegotiateAsync().ConfigureAwait(false);
        await LoadedAsync(next, state).ConfigureAwait(false);
        await next.ShareMemoryAsync().ConfigureAwait(false);
        await next.WorkAsync(await next.StartRingsAsync().ConfigureAwait(false)).ConfigureAwait(false);
    }

    private static async Task LoadSameAsync(BackendPeer peer)
    {
        byte[] state = await WorkedAndSavedAsync(peer).ConfigureAwait(false);
        await LoadedAsync(peer, state).ConfigureAwait(false);
        await peer.WorkAsync(await peer.StartRingsAsync().ConfigureAwait(false)).ConfigureAwait(false);
    }

    private static async Task LoadSlowAsync(BackendPeer peer)
    {
        byte[] state = await WorkedAndSavedAsync(peer).ConfigureAwait(false);
        await LoadedAsync(peer, state, Math.Max(1, state.Length / 256)).ConfigureAwait(false);
    }

    private static async Task LoadCutAsync(BackendPeer peer)
    {
        byte[] state = await WorkedAndSavedAsync(peer).ConfigureAwait(false);
        if (state.Length < 2)
            throw Expect.Skipped("the state is empty");
        await NotLoadedAsync(peer, state.AsMemory(0, state.Length / 2)).ConfigureAwait(false);
    }

    private static async Task LoadGarbageAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        byte[] garbage = new byte[1024];
        peer.Random.NextBytes(garbage);
        await NotLoadedAsync(peer, garbage).ConfigureAwait(false);
    }

    /// <summary>The back-end may see before the end that it cannot load what comes, and close its own.</summary>
    private static async Task NotLoadedAsync(BackendPeer peer, ReadOnlyMemory<byte> state)
    {
        SafeFileHandle end = await BeginAsync(peer, VhostUserTransferDirection.Load).ConfigureAwait(false);
        _ = await StatePipe.WriteAsFarAsync(end, state, int.MaxValue, peer.Patience).ConfigureAwait(false);
        Answer answer = await peer.SayAsync(VhostUserRequest.CheckDeviceState).ConfigureAwait(false);
        peer.ExpectAnswer((uint)VhostUserRequest.CheckDeviceState, answer);
        bool loaded = answer.Kind == AnswerKind.Replied && answer.Payload.Length == 8 && BitConverter.ToUInt64(answer.Payload) == 0;
        Expect.That(!loaded, "CHECK_DEVICE_STATE answers something else than 0", "0");
        peer.NoteRefusal(answer.Text);
    }

    private static async Task RunningAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        (_, SafeFileHandle writer) = Pipe(peer);
        await peer.RefusedAsync(VhostUserRequest.SetDeviceStateFd, Transfer(0), writer).ConfigureAwait(false);
    }

    private static async Task CheckFirstAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        Answer answer = await peer.SayAsync(VhostUserRequest.CheckDeviceState).ConfigureAwait(false);
        Expect.That(answer.Kind is AnswerKind.Replied or AnswerKind.Ended, "an answer, or the end of the connection", answer.Text);
        Expect.That(answer.Kind == AnswerKind.Ended || answer.Payload.Length == VhostUserU64.Size, "an answer of 8 bytes, or the end of the connection", answer.Text);
        if (answer.Kind == AnswerKind.Ended || BitConverter.ToUInt64(answer.Payload) != 0)
            peer.NoteRefusal(answer.Text);
    }

    private static async Task OddAsync(BackendPeer peer, uint direction, uint phase)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        (_, SafeFileHandle writer) = Pipe(peer);
        await peer.RefusedAsync(VhostUserRequest.SetDeviceStateFd, Transfer(direction, phase), writer).ConfigureAwait(false);
    }

    private static async Task ClosedAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        (SafeFileHandle reader, SafeFileHandle writer) = Pipe(peer);
        reader.Dispose();
        Answer answer = await peer.SayAsync(VhostUserRequest.SetDeviceStateFd, Transfer(0), writer).ConfigureAwait(false);
        await CheckedAsync(peer, answer).ConfigureAwait(false);
    }

    private static async Task WrongEndAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        (SafeFileHandle reader, _) = Pipe(peer);
        Answer answer = await peer.SayAsync(VhostUserRequest.SetDeviceStateFd, Transfer(0), reader).ConfigureAwait(false);
        await CheckedAsync(peer, answer).ConfigureAwait(false);
    }

    private static async Task CheckedAsync(BackendPeer peer, Answer answer)
    {
        if (answer.Kind != AnswerKind.Ended)
        {
            peer.ExpectAnswer((uint)VhostUserRequest.SetDeviceStateFd, answer);
            answer = await peer.SayAsync(VhostUserRequest.CheckDeviceState).ConfigureAwait(false);
            peer.ExpectAnswer((uint)VhostUserRequest.CheckDeviceState, answer);
        }

        peer.NoteRefusal(answer.Text);
    }
}
