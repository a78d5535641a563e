using PF = Vhost.Protocol.VhostUserProtocolFeatures;
using VF = Vhost.Protocol.VirtioFeatures;

namespace Vhost.Protocol;

/// <summary>Requests of the front-end.</summary>
internal static class MainContracts
{
    private const VF NetMtuFeature = (VF)(1UL << 3);

    public static MessageContract[] Rows { get; } =
    [
        Get(VhostUserRequest.GetFeatures, "GET_FEATURES", PayloadLayout.Features),
        Set(VhostUserRequest.SetFeatures, "SET_FEATURES", PayloadLayout.Features, Exactly(8)) with { Note = "only LOG_ALL may change while rings run" },
        Set(VhostUserRequest.SetOwner, "SET_OWNER", PayloadLayout.Empty, Exactly(0)),
        Set(VhostUserRequest.ResetOwner, "RESET_OWNER", PayloadLayout.Empty, Exactly(0)) with { Note = "deprecated" },
        Set(VhostUserRequest.SetMemTable, "SET_MEM_TABLE", PayloadLayout.MemoryTable, new(8, 264, 32)) with
        {
            XenPayload = new(8, 328, 40),
            MaxDescriptors = VhostUserMemoryTable.MaxRegions,
            Reply = ReplyRule.Conditional,
            ReplyMayHaveRequestSize = true,
            Note = "one descriptor a region; in postcopy the reply is the table with the back-end's addresses",
        },
        Set(VhostUserRequest.SetLogBase, "SET_LOG_BASE", PayloadLayout.Log, Either(8, 16)) with
        {
            MaxDescriptors = 1,
            Reply = ReplyRule.Conditional,
            ReplyPayload = new(0, 16, 8),
            RequiredOfferedFeatures = VF.LogAll,
            Note = "16 bytes, one descriptor and always a reply with LOG_SHMFD; 8 bytes without; real replies have 0, 8 or 16 bytes",
        },
        Set(VhostUserRequest.SetLogFd, "SET_LOG_FD", PayloadLayout.Empty, Exactly(0)) with
        {
            MinDescriptors = 1, MaxDescriptors = 1, RequiredOfferedFeatures = VF.LogAll,
        },
        Set(VhostUserRequest.SetVringNum, "SET_VRING_NUM", PayloadLayout.VringState, Exactly(8)),
        Set(VhostUserRequest.SetVringAddr, "SET_VRING_ADDR", PayloadLayout.VringAddress, Exactly(40)),
        Set(VhostUserRequest.SetVringBase, "SET_VRING_BASE", PayloadLayout.VringState, Exactly(8)),
        Get(VhostUserRequest.GetVringBase, "GET_VRING_BASE", PayloadLayout.VringState) with
        {
            Layout = PayloadLayout.VringState, Payload = Exactly(8), Note = "stops the ring",
        },
        VringDescriptor(VhostUserRequest.SetVringKick, "SET_VRING_KICK"),
        VringDescriptor(VhostUserRequest.SetVringCall, "SET_VRING_CALL"),
        VringDescriptor(VhostUserRequest.SetVringErr, "SET_VRING_ERR"),
        Get(VhostUserRequest.GetProtocolFeatures, "GET_PROTOCOL_FEATURES", PayloadLayout.ProtocolFeatures) with
        {
            RequiredOfferedFeatures = VF.VhostUserProtocolFeatures,
        },
        Set(VhostUserRequest.SetProtocolFeatures, "SET_PROTOCOL_FEATURES", PayloadLayout.ProtocolFeatures, Exactly(8)) with
        {
            RequiredOfferedFeatures = VF.VhostUserProtocolFeatures,
            Note = "acknowledged only when REPLY_ACK was negotiated by an earlier one",
        },
        Get(VhostUserRequest.GetQueueNum, "GET_QUEUE_NUM", PayloadLayout.U64) with { RequiredOfferedProtocolFeatures = PF.MultiQueue },
        Set(VhostUserRequest.SetVringEnable, "SET_VRING_ENABLE", PayloadLayout.VringState, Exactly(8)) with
        {
            RequiredOfferedFeatures = VF.VhostUserProtocolFeatures,
            Note = "the specification wants the bit acknowledged; QEMU enables before SET_FEATURES",
        },
        Set(VhostUserRequest.SendRarp, "SEND_RARP", PayloadLayout.U64, Exactly(8)) with { RequiredProtocolFeatures = PF.Rarp },
        Set(VhostUserRequest.NetSetMtu, "NET_SET_MTU", PayloadLayout.U64, Exactly(8)) with
        {
            RequiredProtocolFeatures = PF.NetMtu,
            RequiredOfferedFeatures = NetMtuFeature,
            Note = "bit 3 is VIRTIO_NET_F_MTU; QEMU sends this before SET_FEATURES",
        },
        Set(VhostUserRequest.SetBackendReqFd, "SET_BACKEND_REQ_FD", PayloadLayout.Empty, Exactly(0)) with
        {
            MinDescriptors = 1, MaxDescriptors = 1, RequiredProtocolFeatures = PF.BackendReq,
        },
        Set(VhostUserRequest.IotlbMsg, "IOTLB_MSG", PayloadLayout.Iotlb, Either(26, 32)) with
        {
            Reply = ReplyRule.AlwaysWhenNeedReply, RequiredFeatures = VF.AccessPlatform, Note = "sent with 32 bytes",
        },
        Set(VhostUserRequest.SetVringEndian, "SET_VRING_ENDIAN", PayloadLayout.VringState, Exactly(8)) with
        {
            RequiredProtocolFeatures = PF.CrossEndian, ForbiddenFeatures = VF.Version1,
        },
        Get(VhostUserRequest.GetConfig, "GET_CONFIG", PayloadLayout.Config) with
        {
            Layout = PayloadLayout.Config,
            Payload = new(12, 268),
            ReplyPayload = Either(0, 12),
            ReplyMayHaveRequestSize = true,
            RequiredProtocolFeatures = PF.Config,
            Note = "a reply of 0 or 12 bytes is a refusal",
        },
        Set(VhostUserRequest.SetConfig, "SET_CONFIG", PayloadLayout.Config, new(12, 268)) with { RequiredProtocolFeatures = PF.Config },
        Get(VhostUserRequest.CreateCryptoSession, "CREATE_CRYPTO_SESSION", PayloadLayout.CryptoSession) with
        {
            Layout = PayloadLayout.CryptoSession,
            Payload = Either(632, 1072),
            ReplyPayload = Either(632, 1072),
            RequiredProtocolFeatures = PF.CryptoSession,
            Note = "three layouts in two sizes; a negative session identifier in the reply is a refusal",
        },
        Set(VhostUserRequest.CloseCryptoSession, "CLOSE_CRYPTO_SESSION", PayloadLayout.U64, Exactly(8)) with { RequiredProtocolFeatures = PF.CryptoSession },
        Get(VhostUserRequest.PostcopyAdvise, "POSTCOPY_ADVISE", PayloadLayout.Empty) with
        {
            ReplyPayload = Exactly(0), MinReplyDescriptors = 1, MaxReplyDescriptors = 1, RequiredProtocolFeatures = PF.PageFault,
        },
        Set(VhostUserRequest.PostcopyListen, "POSTCOPY_LISTEN", PayloadLayout.Empty, Exactly(0)) with
        {
            Reply = ReplyRule.AlwaysWhenNeedReply, RequiredProtocolFeatures = PF.PageFault,
        },
        Set(VhostUserRequest.PostcopyEnd, "POSTCOPY_END", PayloadLayout.Empty, Exactly(0)) with
        {
            Reply = ReplyRule.AlwaysWhenNeedReply, RequiredProtocolFeatures = PF.PageFault,
        },
        Get(VhostUserRequest.GetInflightFd, "GET_INFLIGHT_FD", PayloadLayout.Inflight) with
        {
            Layout = PayloadLayout.Inflight,
            Payload = Either(20, 24),
            ReplyPayload = Either(20, 24),
            MaxReplyDescriptors = 1,
            RequiredProtocolFeatures = PF.InflightShmFd,
            Note = "sent with 24 bytes; the reply has a descriptor unless its mmap size is 0 (not supported)",
        },
        Set(VhostUserRequest.SetInflightFd, "SET_INFLIGHT_FD", PayloadLayout.Inflight, Either(20, 24)) with
        {
            MinDescriptors = 1, MaxDescriptors = 1, RequiredProtocolFeatures = PF.InflightShmFd, Note = "sent with 24 bytes",
        },
        Set(VhostUserRequest.GpuSetSocket, "GPU_SET_SOCKET", PayloadLayout.Empty, Exactly(0)) with { MinDescriptors = 1, MaxDescriptors = 1 },
        Set(VhostUserRequest.ResetDevice, "RESET_DEVICE", PayloadLayout.Empty, Exactly(0)) with { RequiredProtocolFeatures = PF.ResetDevice },
        Set(VhostUserRequest.VringKick, "VRING_KICK", PayloadLayout.VringState, Exactly(8)) with { RequiredProtocolFeatures = PF.InbandNotifications },
        Get(VhostUserRequest.GetMaxMemSlots, "GET_MAX_MEM_SLOTS", PayloadLayout.U64) with { RequiredProtocolFeatures = PF.ConfigureMemSlots },
        Set(VhostUserRequest.AddMemReg, "ADD_MEM_REG", PayloadLayout.SingleRegion, Exactly(40)) with
        {
            XenPayload = Exactly(48),
            MinDescriptors = 1,
            MaxDescriptors = 1,
            Reply = ReplyRule.Conditional,
            ReplyMayHaveRequestSize = true,
            RequiredProtocolFeatures = PF.ConfigureMemSlots,
            Note = "in postcopy the reply is the region with the back-end's address",
        },
        Set(VhostUserRequest.RemMemReg, "REM_MEM_REG", PayloadLayout.SingleRegion, Exactly(40)) with
        {
            XenPayload = Exactly(48),
            MaxDescriptors = 1,
            RequiredProtocolFeatures = PF.ConfigureMemSlots,
            Note = "no descriptor is sent; one is tolerated and closed (virtio-driver sends it)",
        },
        Set(VhostUserRequest.SetStatus, "SET_STATUS", PayloadLayout.U64, Exactly(8)) with { RequiredProtocolFeatures = PF.Status },
        Get(VhostUserRequest.GetStatus, "GET_STATUS", PayloadLayout.U64) with { RequiredProtocolFeatures = PF.Status },
        Get(VhostUserRequest.GetSharedObject, "GET_SHARED_OBJECT", PayloadLayout.Opaque) with
        {
            Layout = PayloadLayout.SharedObject,
            Payload = Either(0, 16),
            ReplyPayload = new(0, VhostUserHeader.MaxPayloadSize),
            MaxReplyDescriptors = 1,
            RequiredProtocolFeatures = PF.SharedObject,
            Note = "sent with 16 bytes; QEMU sends none and is answered without a descriptor; any reply size is taken",
        },
        Get(VhostUserRequest.SetDeviceStateFd, "SET_DEVICE_STATE_FD", PayloadLayout.DeviceStateReply) with
        {
            Layout = PayloadLayout.DeviceState,
            Payload = Exactly(8),
            MinDescriptors = 1,
            MaxDescriptors = 1,
            MaxReplyDescriptors = 1,
            RequiredProtocolFeatures = PF.DeviceState,
        },
        Get(VhostUserRequest.CheckDeviceState, "CHECK_DEVICE_STATE", PayloadLayout.U64) with { RequiredProtocolFeatures = PF.DeviceState },
        Get(VhostUserRequest.GetShmemConfig, "GET_SHMEM_CONFIG", PayloadLayout.ShmemConfig) with
        {
            ReplyPayload = Exactly(2056), RequiredProtocolFeatures = PF.Shmem,
        },
        Get(VhostUserRequest.GetVringBaseSkipDrain, "GET_VRING_BASE_SKIP_DRAIN", PayloadLayout.VringState) with
        {
            Layout = PayloadLayout.VringState,
            Payload = Exactly(8),
            RequiredProtocolFeatures = PF.GetVringBaseSkipDrain | PF.GetVringBaseInflight | PF.InflightShmFd,
            Note = "stops the ring without waiting for requests in flight",
        },
    ];

    private static PayloadRange Exactly(int size) => PayloadRange.Exactly(size);

    private static PayloadRange Either(int first, int second) => PayloadRange.Either(first, second);

    private static MessageContract Get(VhostUserRequest request, string name, PayloadLayout reply) =>
        Set(request, name, PayloadLayout.Empty, Exactly(0)) with { Reply = ReplyRule.Always, ReplyLayout = reply };

    private static MessageContract Set(VhostUserRequest request, string name, PayloadLayout layout, PayloadRange payload) => new()
    {
        Channel = VhostUserChannel.Main,
        Code = (uint)request,
        Name = "VHOST_USER_" + name,
        Section = "vhost-user, Front-end message types",
        Layout = layout,
        Payload = payload,
        Reply = ReplyRule.AckOnly,
    };

    private static MessageContract VringDescriptor(VhostUserRequest request, string name) =>
        Set(request, name, PayloadLayout.VringDescriptor, Exactly(8)) with { MaxDescriptors = 1, Note = "bit 8 says that no descriptor comes" };
}
