using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>
/// The back-end as one case meets it: a connection of its own, memory of its own, and the words of a front-end, the honest ones and the others. A word that asks for something and
/// does not get it ends the case. One at a time.
/// </summary>
internal sealed partial class BackendPeer : IAsyncDisposable
{
    private readonly string _socket;
    private readonly CaseNeeds _needs;
    private readonly Dialogue _dialogue;
    private readonly Patience _patience;
    private readonly List<IAsyncDisposable> _open = [];
    private readonly List<IDisposable> _owned = [];
    private CaseMemory? _memory;

    private BackendPeer(string socket, BackendProfile profile, CaseNeeds needs, Dialogue dialogue, Patience patience, Conversation main)
    {
        (_socket, Profile, _needs, _dialogue, _patience, Main) = (socket, profile, needs, dialogue, patience, main);
        _open.Add(main);
    }

    /// <summary>What the back-end said of itself before the first case.</summary>
    public BackendProfile Profile { get; }

    public DeviceModel Device => Profile.Device;

    /// <summary>Whether the case is one on packed rings.</summary>
    public bool NeedsPacked => (_needs.Features & VirtioFeatures.RingPacked) != 0;

    /// <summary>The connection, for words that this class does not have.</summary>
    public Conversation Main { get; }

    /// <summary>What was negotiated on this connection.</summary>
    public NegotiatedState State { get; private set; }

    /// <summary>Made when it is first asked for; shared with the back-end by <see cref="ShareMemoryAsync"/>.</summary>
    public CaseMemory Memory => _memory ??= Own(new CaseMemory());

    /// <summary>Random contents, the same in each run with the same seed.</summary>
    public Random Random { get; private init; } = new(0);

    /// <summary>How long what must not happen is waited for.</summary>
    public TimeSpan Quiet => _patience.Quiet;

    /// <summary>How long what must happen is waited for.</summary>
    public TimeSpan Patience => _patience.Answer;

    /// <summary>In what allowed way the peer has refused what this case said; null: it has not.</summary>
    public string? Refusal { get; private set; }

    /// <summary>A feature bit that the back-end does not offer, the highest one.</summary>
    public VirtioFeatures UnofferedFeature() => Enumerable.Range(0, 64).Select(static i => (VirtioFeatures)(1UL << (63 - i))).First(bit => !Profile.Offers(bit));

    /// <summary>Connects. Throws what <see cref="VhostUserConnection.ConnectAsync"/> throws.</summary>
    public static async Task<BackendPeer> ConnectAsync(
        string socket, BackendProfile profile, CaseNeeds needs, Dialogue dialogue, Patience patience, int seed = 0, TimeSpan? retryFor = null)
    {
        Conversation main = await OpenAsync(socket, "main", dialogue, patience, retryFor).ConfigureAwait(false);
        return new BackendPeer(socket, profile, needs, dialogue, patience, main) { Random = new Random(seed) };
    }

    /// <summary>A second front-end beside this one, with the same needs; it is disposed with this one.</summary>
    public async Task<BackendPeer> ConnectAnotherAsync()
    {
        Conversation main = await OpenAsync(_socket, $"main {_open.Count + 1}", _dialogue, _patience).ConfigureAwait(false);
        BackendPeer another = new(_socket, Profile, _needs, _dialogue, _patience, main);
        _open.Add(another);
        return another;
    }

    /// <summary>Ends the connection, as a front-end does that has no more to say.</summary>
    public ValueTask CloseAsync()
    {
        _dialogue.Note("the suite ends the connection", Main.Channel);
        return Main.DisposeAsync();
    }

    /// <summary>Says something in the dialogue that is no message.</summary>
    public void Note(string text) => _dialogue.Note(text);

    /// <summary>The peer has refused what was said, as it may.</summary>
    public void NoteRefusal(string came) => Refusal ??= came;

    /// <summary>Disposes something at the end of the case.</summary>
    public T Own<T>(T owned)
        where T : IDisposable
    {
        _owned.Add(owned);
        return owned;
    }

    /// <summary>Takes another memory than the standard one. Before <see cref="Memory"/> is used.</summary>
    public CaseMemory UseMemory(params ReadOnlySpan<CaseRegion> regions) => _memory = Own(new CaseMemory(regions));

    /// <summary>Memory that the peer knows nothing of, behind the standard one.</summary>
    public CaseMemory UnsharedMemory() => Own(new CaseMemory(new CaseRegion(1 << 30, 1 << 20)));

    public async ValueTask DisposeAsync()
    {
        for (int i = _open.Count - 1; i >= 0; i--)
            await _open[i].DisposeAsync().ConfigureAwait(false);
        for (int i = _owned.Count - 1; i >= 0; i--)
            _owned[i].Dispose();
    }

    /// <summary>Hands over a channel for the back-end's own requests (SET_BACKEND_REQ_FD) and returns this side of it.</summary>
    public async Task<Conversation> OpenBackendChannelAsync()
    {
        (VhostUserConnection ours, SafeFileHandle theirs) = VhostUserConnection.CreatePairWithHandle("back-end channel");
        Conversation channel = new(ours, VhostUserChannel.Backend, "back-end", _dialogue, _patience.Answer);
        _open.Add(channel);
        using (theirs)
            await AcceptedAsync(VhostUserRequest.SetBackendReqFd, default, theirs).ConfigureAwait(false);
        return channel;
    }

    private static async Task<Conversation> OpenAsync(string socket, string channel, Dialogue dialogue, Patience patience, TimeSpan? retryFor = null)
    {
        // A back-end that serves one front-end at a time may still be busy with the end of the one before.
        VhostUserConnectOptions options = new() { RetryFor = retryFor ?? patience.Answer, RetryDelay = TimeSpan.FromMilliseconds(2) };
        VhostUserConnection connection = await VhostUserConnection.ConnectAsync(socket, options).ConfigureAwait(false);
        return new Conversation(connection, VhostUserChannel.Main, channel, dialogue, patience.Answer);
    }
}
