using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>A network card as a driver sees it: a pair of rings, or several, and perhaps a control queue.</summary>
internal sealed class NetCard
{
    private const byte NoAnswer = 0xEE;

    private NetCard(BackendPeer peer, DriverRing receive, DriverRing transmit) => (Peer, Receive, Transmit) = (peer, receive, transmit);

    public BackendPeer Peer { get; }

    public DriverRing Receive { get; }

    public DriverRing Transmit { get; }

    /// <summary>The first pair of rings runs.</summary>
    public static async Task<NetCard> OpenAsync(BackendPeer peer, int size = BackendPeer.UsualRingSize)
    {
        await peer.BeginAsync().ConfigureAwait(false);
        NetCard card = new(peer, peer.NewRing(0, size), peer.NewRing(1, size));
        await peer.StartAsync(card.Receive).ConfigureAwait(false);
        await peer.StartAsync(card.Transmit).ConfigureAwait(false);
        await peer.DriverReadyAsync().ConfigureAwait(false);
        return card;
    }

    /// <summary>Makes buffers available that the device may fill.</summary>
    public void Post(int buffers, int length)
    {
        for (int i = 0; i < buffers; i++)
            Receive.Offer(new ChainBuffer(Peer.Memory.Allocate(length), (uint)length, true));
        Receive.Notify();
    }

    /// <summary>Whatever came in is at least a header and no longer than its buffer. Returns how many came.</summary>
    public int TakeReceived(int length)
    {
        int count = 0;
        for (; Receive.TryTakeUsed(out UsedBuffer used); count++)
            Expect.That(used.Length >= NetModel.HeaderSize && used.Length <= length, $"a received packet of {NetModel.HeaderSize} to {length} bytes", $"{used.Length}");
        return count;
    }

    public Task SendAsync(params ChainBuffer[] chain) => RingWork.KickAndFinishAsync(Transmit, NetModel.Send(chain), Transmit.Offer(chain), "the packet is taken");

    /// <summary>Sends what breaks the rules: taken or not, it has written nothing. Known cards drop what they cannot send, and give its buffers back: that is waited for in full.</summary>
    public async Task TrySendAsync(params ChainBuffer[] chain)
    {
        uint most = (uint)chain.Where(static buffer => buffer.IsWritable).Sum(static buffer => buffer.Length);
        Transmit.Offer(chain);
        Transmit.Notify();
        if (await Transmit.TryUsedAsync(Peer.Patience).ConfigureAwait(false) is { } used)
            Expect.That(used.Length <= most, $"a used length of at most {most}, which is what the device could write", $"{used.Length}");
        else
            Peer.NoteRefusal("the packet was not taken");
    }

    /// <summary>
    /// A ring for commands, which has served one: behind the last pair where several may be had, else behind the first. Many back-ends offer the feature and leave the commands to the front-end, as
    /// vhost-user allows; cases on commands do not concern those.
    /// </summary>
    public async Task<DriverRing> OpenControlAsync()
    {
        bool many = (Peer.State.Features & (VirtioFeatures)(ulong)VirtioNetFeatures.MultiQueue) != 0;
        int index = many ? 2 * Math.Max(1, Peer.Profile.Queues) : 2;
        if (index > byte.MaxValue)
            throw Expect.Skipped($"ring {index}, which is that for commands, cannot be named");
        DriverRing control = Peer.NewRing(index, BackendPeer.UsualRingSize, 2);
        await Peer.StartAsync(control).ConfigureAwait(false);
        control.Offer(Buffer([0, 0, 0]), new ChainBuffer(Peer.Memory.Allocate(1), 1, true)); // no promiscuous mode, which is how it begins
        control.Notify();
        // Waited for in full until it has shown once; who has served commands owes an answer to each.
        if (Peer.Profile.ServesCommands is not true)
            Peer.Profile.ServesCommands = Peer.Profile.ServesCommands is null && await control.TryUsedAsync(Peer.Patience).ConfigureAwait(false) is not null;
        else
            _ = await control.UsedAsync("the first command is answered").ConfigureAwait(false);
        return Peer.Profile.ServesCommands is true ? control : throw Expect.Skipped("the back-end leaves commands to the front-end");
    }

    /// <summary>Gives a command. Returns what the device makes of it: 0 done, 1 refused.</summary>
    public async Task<byte> CommandAsync(DriverRing control, byte group, byte command, byte[] data, params int[] pieces)
    {
        ulong answer = Peer.Memory.Allocate(1);
        Peer.Memory.Write(answer, NoAnswer);
        ChainBuffer[] chain = [.. Buffer([group, command, .. data]).Cut(pieces), new(answer, 1, true)];
        await RingWork.KickAndFinishAsync(control, new Work(chain, static _ => { }), control.Offer(chain), "the command is answered").ConfigureAwait(false);
        return Peer.Memory.Read<byte>(answer);
    }

    private ChainBuffer Buffer(byte[] contents)
    {
        ulong at = Peer.Memory.Allocate(contents.Length);
        Peer.Memory.WriteBytes(at, contents);
        return new(at, (uint)contents.Length, false);
    }
}
