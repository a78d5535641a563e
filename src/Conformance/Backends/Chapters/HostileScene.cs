namespace Vhost.Conformance;

/// <summary>
/// A running ring that is about to get something that breaks the rules, and what is asked of the device then: it writes nothing where it was given nothing, claims no more than it
/// could write, and still answers that the ring is stopped, or ends the connection.
/// </summary>
internal sealed class HostileScene
{
    private readonly HashSet<uint> _offered = [];
    private readonly Canaries _canaries;
    private ulong _writable;

    private HostileScene(BackendPeer peer, DriverRing ring)
    {
        (Peer, Ring, _canaries) = (peer, ring, new Canaries(peer.Memory));
        Victim = _canaries.Surround(() => peer.Device.NewWorkOf(peer.Memory, Buffers) ?? peer.Device.NewWork(peer.Memory));
    }

    /// <summary>How many buffers the victim has where the device has such a request.</summary>
    public const int Buffers = 3;

    public BackendPeer Peer { get; }

    public DriverRing Ring { get; }

    public SplitDriverRing Split => (SplitDriverRing)Ring;

    public PackedDriverRing Packed => (PackedDriverRing)Ring;

    public CaseMemory Memory => Peer.Memory;

    /// <summary>An honest request with guarded memory around each of its buffers.</summary>
    public Work Victim { get; }

    /// <summary>Its descriptors, to be changed.</summary>
    public RawDescriptor[] VictimDescriptors => RawDescriptor.Of(Victim.Chain);

    /// <summary>A ring that has served already.</summary>
    public static async Task<HostileScene> BeginAsync(BackendPeer peer, int size = BackendPeer.UsualRingSize)
    {
        DriverRing ring = await peer.ServeAsync(null, size).ConfigureAwait(false);
        await peer.WorkManyAsync(ring, 1).ConfigureAwait(false);
        return new(peer, ring);
    }

    /// <summary>Memory that the device must leave alone.</summary>
    public void Guard(ulong at, int length) => _canaries.Guard(at, length);

    /// <summary>Makes descriptors available.</summary>
    public void Offer(params ReadOnlySpan<RawDescriptor> chain) => Took(Ring.OfferRaw(chain), WritableOf(chain));

    /// <summary>The case made a chain available itself.</summary>
    public void Took(uint id, ulong writable)
    {
        _offered.Add(id);
        _writable = Math.Max(_writable, writable);
    }

    /// <summary>Kicks, gives the device time to do what it will, and judges that.</summary>
    public async Task EndAsync()
    {
        Ring.Notify();
        UsedBuffer? used = await Ring.TryServedAsync(Peer.Quiet).ConfigureAwait(false);
        await StopAsync().ConfigureAwait(false);
        used ??= Taken();
        if (used is null)
            Peer.NoteRefusal("the chain was not used");
        for (int i = 0; i <= Ring.Size && used is { } one; i++)
        {
            Judge(one);
            used = Taken();
        }

        _canaries.Check();
    }

    /// <summary>As <see cref="EndAsync"/> where it is chance what the device sees: no verdict hangs on that.</summary>
    public async Task EndEitherWayAsync()
    {
        await StopAsync(notes: false).ConfigureAwait(false);
        _canaries.Check();
    }

    /// <summary>A ring that got what it should not is stopped as any other, or the connection ends.</summary>
    public async Task StopAsync(bool notes = true)
    {
        if (!await Peer.TryStopAsync(Ring).ConfigureAwait(false) && notes)
            Peer.NoteRefusal(BackendPeer.Ended);
    }

    private UsedBuffer? Taken() => Ring.TryTakeUsed(out UsedBuffer used) ? used : null;

    private void Judge(UsedBuffer used)
    {
        Expect.That(_offered.Contains(used.Id), "a used id is that of a chain that was made available", $"{used.Id}");
        Expect.That(used.Length <= _writable, $"a used length of at most {_writable} bytes, which is what the device could write", $"{used.Length}");
    }

    /// <summary>What a device may write of descriptors: those that are wholly in memory.</summary>
    private ulong WritableOf(ReadOnlySpan<RawDescriptor> chain)
    {
        ulong sum = 0;
        foreach (RawDescriptor one in chain)
        {
            if ((one.Flags & DriverRing.Indirect) != 0)
                sum += Victim.Writable;
            else if ((one.Flags & DriverRing.Write) != 0 && Peer.Memory.Has(one.Address, one.Length))
                sum += one.Length;
        }

        return sum;
    }
}
