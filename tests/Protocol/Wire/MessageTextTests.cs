using FsCheck;
using FsCheck.Fluent;

namespace Vhost.Protocol.Tests;

public sealed class MessageTextTests
{
    [Fact]
    public void A_request_is_one_line_with_its_fields() =>
        Describe(VhostUserRequest.SetVringNum, new VhostUserVringState(1, 256)).Should().Be("VHOST_USER_SET_VRING_NUM, 8 bytes: ring 1, num 256");

    [Fact]
    public void Flags_and_descriptors_are_shown_when_there_are_any()
    {
        byte[] kick = Bytes(VhostUserVringDescriptor.Create(2, noDescriptor: false));
        MessageText.Describe(VhostUserChannel.Main, VhostUserHeader.ForRequest(VhostUserRequest.SetVringKick, 8, true), kick, 1)
            .Should().Be("VHOST_USER_SET_VRING_KICK need-reply, 8 bytes, 1 descriptor: ring 2");
        MessageText.Describe(VhostUserChannel.Main, new(12, (VhostUserHeaderFlags)0x12, 0), [], 2)
            .Should().Be("VHOST_USER_SET_VRING_KICK flags 0x12, 0 bytes, 2 descriptors");
    }

    [Fact]
    public void A_reply_is_decoded_as_what_it_is()
    {
        VhostUserHeader features = VhostUserHeader.ForRequest(VhostUserRequest.GetFeatures, 0);
        MessageText.Describe(VhostUserChannel.Main, features.AsReply(8), Bytes(new VhostUserU64(0x1_7000_0000)), 0)
            .Should().Be("VHOST_USER_GET_FEATURES reply, 8 bytes: INDIRECT_DESC EVENT_IDX PROTOCOL_FEATURES VERSION_1 (0x170000000)");
        VhostUserHeader owner = VhostUserHeader.ForRequest(VhostUserRequest.SetOwner, 0);
        MessageText.Describe(VhostUserChannel.Main, owner.AsReply(8), Bytes(new VhostUserU64(1)), 0)
            .Should().Be("VHOST_USER_SET_OWNER reply, 8 bytes: 1 (0x1)");
        VhostUserHeader table = VhostUserHeader.ForRequest(VhostUserRequest.SetMemTable, 40);
        MessageText.Describe(VhostUserChannel.Main, table.AsReply(8), Bytes(new VhostUserU64(0)), 0)
            .Should().Be("VHOST_USER_SET_MEM_TABLE reply, 8 bytes: 0 (0x0)");
        byte[] regions = new byte[40];
        VhostUserMemoryTable.Write([new VhostUserMemoryRegion(new(0), 0x1000, new(0x7000), 0)], regions);
        MessageText.Describe(VhostUserChannel.Main, table.AsReply(40), regions, 0).Should()
            .Be("VHOST_USER_SET_MEM_TABLE reply, 40 bytes: 1 region: guest 0x0 size 0x1000 user 0x7000 offset 0x0");
    }

    [Fact]
    public void Every_layout_has_its_words()
    {
        Describe(VhostUserRequest.SetFeatures, new VhostUserU64(1ul << 5 | 1ul << 32)).Should().EndWith(": bit 5 VERSION_1 (0x100000020)");
        Describe(VhostUserRequest.SetProtocolFeatures, new VhostUserU64(0x9)).Should().EndWith(": MQ REPLY_ACK (0x9)");
        Describe(VhostUserRequest.SetVringAddr, new VhostUserVringAddress(1, 1, new(0x1000), new(0x3000), new(0x2000), 0x4000)).Should()
            .EndWith(": ring 1, flags 0x1, descriptors 0x1000, used 0x3000, available 0x2000, log 0x4000");
        Describe(VhostUserRequest.SetVringCall, new VhostUserVringDescriptor(0x301)).Should().EndWith(": ring 1, no descriptor, reserved bits in 0x301");
        VhostUserMemoryRegion region = new(new(1), 2, new(3), 4);
        Describe(VhostUserRequest.AddMemReg, new VhostUserSingleRegion(region)).Should().EndWith(": guest 0x1 size 0x2 user 0x3 offset 0x4");
        VhostUserXenRegion xen = new(region, VhostUserXenFlags.Foreign, 9);
        Describe(VhostUserRequest.RemMemReg, new VhostUserSingleXenRegion(xen)).Should().EndWith("offset 0x4 xen flags 0x1 domain 9");
        Describe(VhostUserRequest.SetLogBase, new VhostUserLog(0x100, 0)).Should().EndWith(": size 0x100 offset 0x0");
        Describe(VhostUserRequest.SetLogBase, new VhostUserU64(0x100)).Should().EndWith(": address 0x100");
        Describe(VhostUserRequest.SetInflightFd, new VhostUserInflight(1, 2, 3, 4)).Should().EndWith(": size 0x1 offset 0x2, 3 queues of 4");
        Describe(VhostUserRequest.GetSharedObject, new VhostUserSharedObject(Guid.Empty)).Should().EndWith(": object 00000000-0000-0000-0000-000000000000");
        Describe(VhostUserRequest.SetDeviceStateFd, new VhostUserDeviceState(VhostUserTransferDirection.Load, 0)).Should().EndWith(": load, phase 0");
        Describe(VhostUserRequest.SetDeviceStateFd, new VhostUserDeviceState((VhostUserTransferDirection)7, 0)).Should().EndWith(": direction 7, phase 0");
        Describe(VhostUserBackendRequest.VringHostNotifierMsg, new VhostUserVringArea(new(2), 0x1000, 0)).Should()
            .Be("VHOST_USER_BACKEND_VRING_HOST_NOTIFIER_MSG, 24 bytes: ring 2, size 0x1000 offset 0x0");
        Describe(VhostUserBackendRequest.ShmemMap, new VhostUserShmemMap(1, 2, 3, 4, VhostUserShmemMapFlags.ReadWrite)).Should()
            .EndWith(": region 1, file offset 0x2, region offset 0x3, length 0x4, flags 0x1");
    }

    [Theory]
    [InlineData(1, "miss")]
    [InlineData(2, "update")]
    [InlineData(3, "invalidate")]
    [InlineData(4, "access failure")]
    [InlineData(9, "type 9")]
    public void An_iotlb_message_says_its_type(byte type, string word) =>
        Describe(VhostUserBackendRequest.IotlbMsg, new VhostUserIotlb(new(1), 2, new(3), VhostUserIotlbPermission.ReadWrite, (VhostUserIotlbType)type))
            .Should().EndWith($": {word} iova 0x1 size 0x2 user 0x3 permission 3");

    [Fact]
    public void Windows_tables_and_replies_are_shown()
    {
        byte[] config = new byte[14];
        new VhostUserConfig(4, 2, VhostUserConfigFlags.Writable).Write(config);
        config[13] = 0xff;
        Describe(VhostUserRequest.SetConfig, config).Should().EndWith(": offset 4, size 2, flags 0, 00 ff");
        byte[] xen = new byte[88];
        VhostUserMemoryTable.Write([default, new VhostUserXenRegion(default, VhostUserXenFlags.Grant, 1)], xen);
        Describe(VhostUserRequest.SetMemTable, xen).Should().Contain("2 regions: guest 0x0").And.EndWith("xen flags 0x2 domain 1");
        byte[] shmem = new byte[2056];
        VhostUserShmemConfig.Write([0, 0x1000], shmem);
        MessageText.Describe(VhostUserChannel.Main, new(44, (VhostUserHeaderFlags)5, 2056), shmem, 0).Should().EndWith(": 1 regions, region 1 size 0x1000");
        MessageText.Describe(VhostUserChannel.Main, new(42, (VhostUserHeaderFlags)5, 8), Bytes(new VhostUserDeviceStateReply(0x101)), 0)
            .Should().EndWith(": error 1, no descriptor");
        byte[] crypto = new byte[1072];
        VhostUserCryptoSession.WriteSessionId(crypto, -1);
        Describe(VhostUserRequest.CreateCryptoSession, crypto).Should().EndWith(": session -1", "keys are not shown");
    }

    [Fact]
    public void The_gpu_channel_has_its_words()
    {
        VhostUserGpuDmabufScanout scanout = new(0, 1, 2, 3, 4, 5, 6, 7, 0, 0x34325258);
        Gpu(VhostUserGpuRequest.CursorPos, Bytes(new VhostUserGpuCursorPosition(1, 2, 3))).Should()
            .Be("VHOST_USER_GPU_CURSOR_POS, 12 bytes: scanout 1, at 2,3");
        Gpu(VhostUserGpuRequest.CursorUpdate, new byte[16404]).Should().EndWith(": scanout 0, at 0,0, hot spot 0,0");
        Gpu(VhostUserGpuRequest.Scanout, Bytes(new VhostUserGpuScanout(0, 640, 480))).Should().EndWith(": scanout 0, 640x480");
        Gpu(VhostUserGpuRequest.Update, Bytes(new VhostUserGpuRectangle(0, 1, 2, 3, 4))).Should().EndWith(": scanout 0, 3x4 at 1,2");
        Gpu(VhostUserGpuRequest.DmabufScanout, Bytes(scanout)).Should().EndWith(": scanout 0, 3x4 at 1,2 of 5x6, stride 7, format 0x34325258");
        Gpu(VhostUserGpuRequest.DmabufScanout2, Bytes(new VhostUserGpuDmabufScanout2(scanout, 9))).Should().EndWith("format 0x34325258, modifier 0x9");
        Gpu(VhostUserGpuRequest.GetEdid, Bytes(new VhostUserGpuEdidRequest(3))).Should().EndWith(": scanout 3");
    }

    [Fact]
    public void What_cannot_be_decoded_is_shown_as_bytes()
    {
        Describe(VhostUserRequest.SetVringNum, [1, 2, 3]).Should().Be("VHOST_USER_SET_VRING_NUM, 3 bytes: malformed bytes 01 02 03");
        MessageText.Describe(VhostUserChannel.Main, new(77, VhostUserHeaderFlags.Version1, 40), new byte[40], 0).Should()
            .StartWith("unknown request 77, 40 bytes: bytes 00").And.EndWith("00 …");
        Describe(VhostUserRequest.SetOwner, [1]).Should().EndWith(": malformed bytes 01");
    }

    [Fact]
    public void Any_bytes_are_one_line_for_every_message()
    {
        Prop.ForAll(ArbMap.Default.ArbFor<byte[]>(), bytes =>
        {
            foreach (MessageContract row in MessageContracts.All)
            {
                foreach (uint flags in (uint[])[1, 5, 9, 0xffffffff])
                {
                    string text = MessageText.Describe(row.Channel, new(row.Code, (VhostUserHeaderFlags)flags, (uint)bytes.Length), bytes, 0);
                    text.Should().StartWith(row.Name).And.NotContain("\n");
                }
            }
        }).QuickCheckThrowOnFailure();
    }

    [Fact]
    public void Every_size_of_every_message_is_decoded_without_a_throw()
    {
        foreach (MessageContract row in MessageContracts.All)
        {
            for (int size = 0; size < 60; size++)
                MessageText.Describe(row.Channel, new(row.Code, VhostUserHeaderFlags.Version1, (uint)size), new byte[size], 0).Should().NotBeEmpty();
            byte[] legal = new byte[Math.Min(row.MaxPayload, 20000)];
            if (row.Layout is not (PayloadLayout.MemoryTable or PayloadLayout.Config))
            {
                MessageText.Describe(row.Channel, new(row.Code, VhostUserHeaderFlags.Version1, (uint)legal.Length), legal, 0)
                    .Should().NotContain("malformed", row.Name);
            }
        }
    }

    private static byte[] Bytes<T>(T payload)
        where T : struct, IVhostUserPayload<T>
    {
        byte[] bytes = new byte[payload.EncodedSize];
        payload.Write(bytes);
        return bytes;
    }

    private static string Describe<T>(VhostUserRequest request, T payload)
        where T : struct, IVhostUserPayload<T> => Describe(request, Bytes(payload));

    private static string Describe<T>(VhostUserBackendRequest request, T payload)
        where T : struct, IVhostUserPayload<T> =>
        MessageText.Describe(VhostUserChannel.Backend, VhostUserHeader.ForRequest(request, payload.EncodedSize), Bytes(payload), 0);

    private static string Describe(VhostUserRequest request, byte[] payload) =>
        MessageText.Describe(VhostUserChannel.Main, VhostUserHeader.ForRequest(request, payload.Length), payload, 0);

    private static string Gpu(VhostUserGpuRequest request, byte[] payload) =>
        MessageText.Describe(VhostUserChannel.Gpu, VhostUserHeader.ForRequest(request, payload.Length), payload, 0);
}
