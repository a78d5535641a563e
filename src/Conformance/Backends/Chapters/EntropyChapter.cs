using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>What a source of random numbers does.</summary>
internal static class EntropyChapter
{
    public static Chapter Cases { get; } = new("entropy", "virtio: Entropy Device, Device Operation", new CaseNeeds { Device = "rng", Work = true })
    {
        { "one-byte", Must, "One byte is filled", static peer => FillAsync(peer, 1, 1) },
        { "page", Must, "A buffer of 4096 bytes is filled, at least in part", static peer => FillAsync(peer, 4096, 1) },
        { "large", Must, "A buffer of a megabyte is filled, at least in part", static peer => FillAsync(peer, 1 << 20, 1) },
        { "pieces", Must, "A request of several buffers is filled from the first one on", static peer => FillAsync(peer, 100, 7) },
        { "differs", Must, "Two requests are filled with different bytes", DiffersAsync },
        { "readable", Robustness, "The device withstands a buffer that it may only read, and does not change it", ReadableAsync },
    };

    private static async Task FillAsync(BackendPeer peer, int length, int pieces)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        byte[] bytes = await AskAsync(peer, ring, length, pieces).ConfigureAwait(false);
        Expect.That(bytes.Length < 32 || bytes.Any(static b => b != 0), "random bytes", $"{bytes.Length} zeroes");
    }

    private static async Task DiffersAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        byte[] first = await AskAsync(peer, ring, 64, 1).ConfigureAwait(false);
        byte[] second = await AskAsync(peer, ring, 64, 1).ConfigureAwait(false);
        int both = Math.Min(first.Length, second.Length);
        Expect.That(both < 16 || !first.AsSpan(0, both).SequenceEqual(second.AsSpan(0, both)), "different bytes", "the same again");
    }

    private static async Task ReadableAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        ChainBuffer buffer = new(peer.Memory.Allocate(64), 64, false);
        ring.Offer(buffer);
        ring.Notify();
        if (await peer.ServedOrStoppedAsync(ring).ConfigureAwait(false) is { } used)
            Expect.Equal(0u, used.Length, "the used length");
        else
            peer.NoteRefusal("the request was not answered");
        Expect.Bytes(new byte[64], peer.Memory.ReadBytes(buffer.Address, 64), "a buffer that the device may only read");
    }

    private static async Task<byte[]> AskAsync(BackendPeer peer, DriverRing ring, int length, int pieces)
    {
        ulong at = peer.Memory.Allocate(length);
        int[] cuts = [.. Enumerable.Repeat(length / pieces, pieces - 1)];
        Work work = new(new ChainBuffer(at, (uint)length, true).Cut(cuts), static _ => { });
        ring.Offer(work.Chain);
        ring.Notify();
        UsedBuffer used = await ring.UsedAsync("random bytes come").ConfigureAwait(false);
        Expect.That(used.Length >= 1 && used.Length <= length, $"between 1 and {length} bytes", $"{used.Length}");
        return peer.Memory.ReadBytes(at, (int)used.Length);
    }
}
