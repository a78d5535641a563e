using System.Runtime.InteropServices;
using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <content>Memory tables that lie.</content>
internal static partial class MemoryChapter
{
    private static void AddHostile(Chapter chapter)
    {
        chapter.Add("b19-none", Robustness, "B19: A table without regions is borne or refused", static peer => TableAsync(peer, false, static _ => [], 0), CaseNeeds.Nothing);
        chapter.Add("b19-count-huge", Robustness, "B19: A table that counts 2^32-1 regions is refused", static peer => CountAsync(peer, uint.MaxValue), CaseNeeds.Nothing);
        chapter.Add("b19-count-more", Robustness, "B19: A table that counts more regions than it has is refused", static peer => CountAsync(peer, 2), CaseNeeds.Nothing);
        chapter.Add("b19-nine", Robustness, "B19: A table of nine regions with eight descriptors is refused", NineAsync, CaseNeeds.Nothing);
        chapter.Add("b19-fewer-descriptors", Robustness, "B19: A table with fewer descriptors than regions is refused", static peer => TableAsync(peer, true, static region => [region with { Size = Mega }, Part(region, 4 * Mega)], 1), CaseNeeds.Nothing);
        chapter.Add("b19-more-descriptors", Robustness, "B19: A table with more descriptors than regions is refused", static peer => TableAsync(peer, true, static region => [region], 2), CaseNeeds.Nothing);
        AddTable(chapter, "size-zero", false, "a region of no size", static region => region with { Size = 0 });
        AddTable(chapter, "guest-wraps", true, "guest addresses that wrap", static region => region with { GuestAddress = new(ulong.MaxValue - 0xfff) });
        AddTable(chapter, "user-wraps", true, "user addresses that wrap", static region => region with { UserAddress = new(ulong.MaxValue - 0xfff) });
        AddTable(chapter, "offset-wraps", true, "an offset that wraps with the size", static region => region with { MmapOffset = ulong.MaxValue - 0xfff });
        AddTable(chapter, "size-huge", true, "a size of 2^64-4096", static region => region with { Size = ulong.MaxValue - 0xfff });
        AddTable(chapter, "offset-beyond", true, "an offset beyond the end of the file", static region => region with { MmapOffset = 64 * Mega });
        AddTable(chapter, "b21-short", true, "a file that is shorter than its region", static region => region with { Size = region.Size + (16 * Mega) });
        AddTable(chapter, "offset-odd", false, "an offset that is no multiple of a page", static region => region with { Size = Mega, MmapOffset = 1 });
        AddTable(chapter, "sparse", false, "a region of 8 TiB", static region => region with { Size = 8UL << 40 });
        chapter.Add("b20-overlap-guest", Robustness, "B20: Regions whose guest addresses overlap are borne or refused", static peer => TableAsync(peer, false, static region => [region, region with { UserAddress = new(Far), GuestAddress = new(Mega) }], 2), CaseNeeds.Nothing);
        chapter.Add("b20-overlap-user", Robustness, "B20: Regions whose user addresses overlap are borne or refused", static peer => TableAsync(peer, false, static region => [region, region with { GuestAddress = new(Far) }], 2), CaseNeeds.Nothing);
        chapter.Add("b20-duplicate", Robustness, "B20: The same region twice is borne or refused", static peer => TableAsync(peer, false, static region => [region, region], 2), CaseNeeds.Nothing);
        chapter.Add("old-stays", Robustness, "After a table without descriptors the one before it stays, or the connection is ended", static peer => OldStaysAsync(peer, peer.Memory.Table));
        chapter.Add("b20-old-stays", Robustness, "B20: After a table that is refused the one before it stays, or the connection is ended", static peer => OldStaysAsync(peer, UnmappableTable(peer), peer.Memory.Descriptors));
    }

    private static void AddTable(Chapter chapter, string id, bool refused, string what, Func<VhostUserMemoryRegion, VhostUserMemoryRegion> change) => chapter.Add(
        id.StartsWith('b') ? id : $"b20-{id}", Robustness, $"{(id.StartsWith('b') ? "B21" : "B20")}: A table with {what} is {(refused ? "refused" : "borne or refused")}",
        peer => TableAsync(peer, refused, region => [change(region)], 1), CaseNeeds.Nothing);

    private static async Task TableAsync(BackendPeer peer, bool refused, Func<VhostUserMemoryRegion, VhostUserMemoryRegion[]> regions, int descriptors)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        byte[] table = CaseMemory.TableOf(regions(peer.Memory.Regions[0]));
        SafeHandle[] files = [.. Enumerable.Repeat(peer.Memory.Descriptors[0], descriptors)];
        if (refused)
            await peer.RefusedAsync(VhostUserRequest.SetMemTable, table, files).ConfigureAwait(false);
        else
            await peer.ToleratedAsync(VhostUserRequest.SetMemTable, table, files).ConfigureAwait(false);
    }

    private static async Task CountAsync(BackendPeer peer, uint count)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        byte[] table = peer.Memory.Table;
        BitConverter.TryWriteBytes(table, count);
        await peer.RefusedAsync(VhostUserRequest.SetMemTable, table, peer.Memory.Descriptors).ConfigureAwait(false);
    }

    private static async Task NineAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        VhostUserMemoryRegion region = peer.Memory.Regions[0] with { Size = Page };
        byte[] table = new byte[8 + (9 * VhostUserMemoryRegion.WireSize)];
        BitConverter.TryWriteBytes(table, 9u);
        for (int i = 0; i < 9; i++)
        {
            ulong at = (ulong)i * Mega;
            (region with { GuestAddress = new(at), UserAddress = new(Far + at) }).Write(table.AsSpan(8 + (i * VhostUserMemoryRegion.WireSize), VhostUserMemoryRegion.WireSize));
        }

        await peer.RefusedAsync(VhostUserRequest.SetMemTable, table, [.. Enumerable.Repeat(peer.Memory.Descriptors[0], 8)]).ConfigureAwait(false);
    }

    private static byte[] UnmappableTable(BackendPeer peer) => CaseMemory.TableOf(peer.Memory.Regions[0] with { Size = 4 * Mega, MmapOffset = ulong.MaxValue - 0xfff });

    private static async Task OldStaysAsync(BackendPeer peer, byte[] table, params SafeHandle[] descriptors)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        Answer answer = await peer.SayAsync(VhostUserRequest.SetMemTable, table, descriptors).ConfigureAwait(false);
        peer.Refused((uint)VhostUserRequest.SetMemTable, answer);
        if (answer.Kind == AnswerKind.Refused)
            await peer.WorkAsync(ring, "the table that was accepted stays in force").ConfigureAwait(false);
    }
}
