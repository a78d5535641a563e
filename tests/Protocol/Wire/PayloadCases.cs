namespace Vhost.Protocol.Tests;

/// <summary>Every payload of fixed layout, with fields at the offsets that the specification gives.</summary>
public static class PayloadCases
{
    private const ulong A = 0x1122334455667788;
    private const ulong B = 0x99aabbccddeeff00;
    private const ulong C = 0x0123456789abcdef;
    private const ulong D = 0xfedcba9876543210;

    private static readonly VhostUserMemoryRegion _region = new(new(A), B, new(C), D);
    private static readonly VhostUserXenRegion _xen = new(_region, VhostUserXenFlags.Grant | VhostUserXenFlags.NoAdvanceMap, 7);

    private static readonly VhostUserGpuDmabufScanout _dmabuf = new(1, 2, 3, 4, 5, 6, 7, 8, 9, -10);

    public static IReadOnlyList<PayloadCase> All { get; } =
    [
        PayloadCase.Of(new VhostUserU64(A), 8, (0, A)),
        PayloadCase.Of(new VhostUserVringState(3, 256), 8, (0, 3u), (4, 256u)),
        PayloadCase.Of(
            new VhostUserVringAddress(3, 1, new(A), new(B), new(C), D), 40, (0, 3u), (4, 1u), (8, A), (16, B), (24, C), (32, D)),
        PayloadCase.Of(new VhostUserVringDescriptor(0x1ff), 8, (0, 0x1fful)),
        PayloadCase.Of(_region, 32, (0, A), (8, B), (16, C), (24, D)),
        PayloadCase.Of(_xen, 40, (0, A), (8, B), (16, C), (24, D), (32, 0x102u), (36, 7u)),
        PayloadCase.Of(new VhostUserSingleRegion(_region), 40, (8, A), (16, B), (24, C), (32, D)),
        PayloadCase.Of(new VhostUserSingleXenRegion(_xen), 48, (8, A), (16, B), (24, C), (32, D), (40, 0x102u), (44, 7u)),
        PayloadCase.Of(new VhostUserLog(A, B), 16, (0, A), (8, B)),
        PayloadCase.Of(
            new VhostUserIotlb(new(A), B, new(C), VhostUserIotlbPermission.WriteOnly, VhostUserIotlbType.Invalidate),
            32,
            (0, A), (8, B), (16, C), (24, (byte)2), (25, (byte)3)).Also(26),
        PayloadCase.Of(new VhostUserVringArea(new(0x104), A, B), 24, (0, 0x104ul), (8, A), (16, B)),
        PayloadCase.Of(new VhostUserInflight(A, B, 0x1234, 0x5678), 24, (0, A), (8, B), (16, (ushort)0x1234), (18, (ushort)0x5678)).Also(20),
        PayloadCase.Of(
            new VhostUserSharedObject(Guid.Parse("00112233-4455-6677-8899-aabbccddeeff")),
            16,
            (0, Convert.FromHexString("00112233445566778899aabbccddeeff"))),
        PayloadCase.Of(new VhostUserDeviceState(VhostUserTransferDirection.Load, VhostUserTransferPhase.Stopped), 8, (0, 1u), (4, 0u)),
        PayloadCase.Of(new VhostUserDeviceStateReply(0x105), 8, (0, 0x105ul)),
        PayloadCase.Of(
            new VhostUserShmemMap(200, A, B, C, VhostUserShmemMapFlags.ReadWrite), 40, (0, (byte)200), (8, A), (16, B), (24, C), (32, 1ul)),
        PayloadCase.Of(new VhostUserGpuCursorPosition(1, 2, 3), 12, (0, 1u), (4, 2u), (8, 3u)),
        PayloadCase.Of(new VhostUserGpuScanout(1, 2, 3), 12, (0, 1u), (4, 2u), (8, 3u)),
        PayloadCase.Of(new VhostUserGpuRectangle(1, 2, 3, 4, 5), 20, (0, 1u), (4, 2u), (8, 3u), (12, 4u), (16, 5u)),
        PayloadCase.Of(
            _dmabuf, 40, (0, 1u), (4, 2u), (8, 3u), (12, 4u), (16, 5u), (20, 6u), (24, 7u), (28, 8u), (32, 9u), (36, -10)),
        PayloadCase.Of(
            new VhostUserGpuDmabufScanout2(_dmabuf, A),
            48,
            (0, 1u), (4, 2u), (8, 3u), (12, 4u), (16, 5u), (20, 6u), (24, 7u), (28, 8u), (32, 9u), (36, -10), (40, A)),
        PayloadCase.Of(new VhostUserGpuEdidRequest(5), 4, (0, 5u)),
    ];

    public static TheoryData<string> Names
    {
        get
        {
            TheoryData<string> names = new();
            foreach (PayloadCase one in All)
                names.Add(one.Name);
            return names;
        }
    }

    public static PayloadCase Named(string name) => All.Single(one => one.Name == name);
}
