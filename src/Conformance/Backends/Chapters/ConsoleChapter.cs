using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>What a console does with what is printed.</summary>
internal static class ConsoleChapter
{
    public static Chapter Cases { get; } = new("console", "virtio: Console Device, Device Operation", new CaseNeeds { Device = "console", Work = true })
    {
        { "print-byte", Must, "One byte is taken", static peer => PrintAsync(peer, 1, 1) },
        { "print-page", Must, "4096 bytes are taken", static peer => PrintAsync(peer, 4096, 1) },
        { "print-pieces", Must, "What is printed may be in several buffers", static peer => PrintAsync(peer, 100, 9) },
        { "print-many", Must, "Many lines at once are all taken", static async peer => await peer.WorkManyAsync(await peer.ServeAsync().ConfigureAwait(false), 100).ConfigureAwait(false) },
        { "input-posted", Must, "Buffers for input are used for input only", PostedAsync },
        { "print-empty", Robustness, "The device withstands that nothing is printed", EmptyAsync },
    };

    private static async Task PrintAsync(BackendPeer peer, int length, int pieces)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        ulong at = peer.Memory.Allocate(length);
        peer.Memory.Fill(at, length, (byte)'.');
        Work work = new(new ChainBuffer(at, (uint)length, false).Cut([.. Enumerable.Repeat(length / pieces, pieces - 1)]), static _ => { });
        await RingWork.KickAndFinishAsync(ring, work, ring.Offer(work.Chain), "what is printed is taken").ConfigureAwait(false);
    }

    private static async Task PostedAsync(BackendPeer peer)
    {
        await peer.BeginAsync().ConfigureAwait(false);
        DriverRing input = peer.NewRing(0);
        await peer.StartAsync(input).ConfigureAwait(false);
        DriverRing output = peer.NewRing(1);
        await peer.StartAsync(output).ConfigureAwait(false);
        await peer.DriverReadyAsync().ConfigureAwait(false);
        for (int i = 0; i < 4; i++)
            input.Offer(new ChainBuffer(peer.Memory.Allocate(64), 64, true));
        input.Notify();
        await peer.WorkManyAsync(output, 10, 2).ConfigureAwait(false);
        while (input.TryTakeUsed(out UsedBuffer used))
            Expect.That(used.Length is >= 1 and <= 64, "input of 1 to 64 bytes", $"{used.Length}");
    }

    private static async Task EmptyAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        ring.Offer(new ChainBuffer(peer.Memory.Allocate(1), 0, false));
        ring.Notify();
        if (await peer.ServedOrStoppedAsync(ring).ConfigureAwait(false) is null)
            peer.NoteRefusal("the chain was not used");
    }
}
