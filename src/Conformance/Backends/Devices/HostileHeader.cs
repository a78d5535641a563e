using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>The header of a packet that asks for what cannot be done to it.</summary>
/// <param name="Id">Part of the id of its case.</param>
/// <param name="What">Completes "a header …".</param>
/// <param name="Needs">What must be negotiated for the header to mean something.</param>
/// <param name="Bytes">The header.</param>
internal sealed record HostileHeader(string Id, string What, VirtioNetFeatures Needs, byte[] Bytes)
{
    private const VirtioNetFeatures Segments = VirtioNetFeatures.Checksum | VirtioNetFeatures.HostTso4;

    public static IReadOnlyList<HostileHeader> All { get; } =
    [
        new("checksum-start", "whose checksum begins beyond the packet", VirtioNetFeatures.Checksum, Header(flags: 1, start: 5000, offset: 16)),
        new("checksum-offset", "whose checksum goes beyond the packet", VirtioNetFeatures.Checksum, Header(flags: 1, start: 34, offset: 5000)),
        new("checksum-wraps", "whose checksum's place goes over 65535", VirtioNetFeatures.Checksum, Header(flags: 1, start: 0xffff, offset: 0xffff)),
        new("segments-of-none", "that asks for segments of no bytes", Segments, Header(flags: 1, type: 1, headers: 54, segment: 0, start: 34, offset: 16)),
        new("segments-unknown", "that asks for segments of a kind that there is not", Segments, Header(flags: 1, type: 0x7f, headers: 54, segment: 100, start: 34, offset: 16)),
        new("headers-long", "whose packet is said to have more headers than bytes", Segments, Header(flags: 1, type: 1, headers: 0xffff, segment: 100, start: 34, offset: 16)),
        new("segments-without-checksum", "that asks for segments without a checksum", Segments, Header(flags: 0, type: 1, headers: 54, segment: 100)),
        new("not-negotiated", "that asks for a checksum that was not negotiated", VirtioNetFeatures.None, Header(flags: 1, start: 34, offset: 16)),
        new("buffers", "that says how many buffers it has", VirtioNetFeatures.None, Header(buffers: 0xffff)),
        new("all-ones", "of nothing but ones", VirtioNetFeatures.None, [.. Enumerable.Repeat((byte)0xff, NetModel.HeaderSize)]),
    ];

    private static byte[] Header(byte flags = 0, byte type = 0, ushort headers = 0, ushort segment = 0, ushort start = 0, ushort offset = 0, ushort buffers = 0) =>
        [flags, type, .. BitConverter.GetBytes(headers), .. BitConverter.GetBytes(segment), .. BitConverter.GetBytes(start), .. BitConverter.GetBytes(offset), .. BitConverter.GetBytes(buffers)];
}
