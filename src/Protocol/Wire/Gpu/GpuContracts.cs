namespace Vhost.Protocol;

/// <summary>Requests of a GPU back-end on the channel of GPU_SET_SOCKET.</summary>
internal static class GpuContracts
{
    /// <summary>The largest update that is taken: a frame of 8192 × 8192 pixels behind its rectangle.</summary>
    public const int MaxUpdate = 20 + 8192 * 8192 * 4;

    /// <summary>The largest payload of a request.</summary>
    public static int MostPayload(uint request) =>
        MessageContracts.TryGet(VhostUserChannel.Gpu, request, out MessageContract? contract) ? contract.Payload.Max : VhostUserHeader.MaxPayloadSize;

    public static MessageContract[] Rows { get; } =
    [
        Get(VhostUserGpuRequest.GetProtocolFeatures, "GET_PROTOCOL_FEATURES", PayloadLayout.U64, 8),
        Row(VhostUserGpuRequest.SetProtocolFeatures, "SET_PROTOCOL_FEATURES", PayloadLayout.U64, 8),
        Get(VhostUserGpuRequest.GetDisplayInfo, "GET_DISPLAY_INFO", PayloadLayout.Opaque, 24 + 16 * 24) with { Note = "virtio_gpu_resp_display_info" },
        Row(VhostUserGpuRequest.CursorPos, "CURSOR_POS", PayloadLayout.GpuCursorPosition, 12),
        Row(VhostUserGpuRequest.CursorPosHide, "CURSOR_POS_HIDE", PayloadLayout.GpuCursorPosition, 12),
        Row(VhostUserGpuRequest.CursorUpdate, "CURSOR_UPDATE", PayloadLayout.GpuCursorImage, 20 + 64 * 64 * 4),
        Row(VhostUserGpuRequest.Scanout, "SCANOUT", PayloadLayout.GpuScanout, 12),
        Row(VhostUserGpuRequest.Update, "UPDATE", PayloadLayout.GpuUpdate, 20) with
        {
            Payload = new(20, MaxUpdate, 4), Note = "20 bytes and width × height pixels of 4 bytes; this library's limit is 8192 × 8192",
        },
        Row(VhostUserGpuRequest.DmabufScanout, "DMABUF_SCANOUT", PayloadLayout.GpuDmabufScanout, 40) with
        {
            MaxDescriptors = 1, Note = "no descriptor disables the scanout",
        },
        Get(VhostUserGpuRequest.DmabufUpdate, "DMABUF_UPDATE", PayloadLayout.Empty, 0) with
        {
            Layout = PayloadLayout.GpuUpdate, Payload = PayloadRange.Exactly(20), Note = "answered after the flip",
        },
        Get(VhostUserGpuRequest.GetEdid, "GET_EDID", PayloadLayout.Opaque, 24 + 8 + 1024) with
        {
            Layout = PayloadLayout.GpuEdidRequest, Payload = PayloadRange.Exactly(4), Note = "needs bit 0 (EDID); the reply is virtio_gpu_resp_edid",
        },
        Row(VhostUserGpuRequest.DmabufScanout2, "DMABUF_SCANOUT2", PayloadLayout.GpuDmabufScanout, 48) with
        {
            MinDescriptors = 1, MaxDescriptors = 1, Note = "needs bit 1 (DMABUF2)",
        },
    ];

    private static MessageContract Get(VhostUserGpuRequest request, string name, PayloadLayout reply, int replySize) =>
        Row(request, name, PayloadLayout.Empty, 0) with
        {
            Reply = ReplyRule.Always,
            ReplyLayout = reply,
            ReplyPayload = PayloadRange.Exactly(replySize),
        };

    private static MessageContract Row(VhostUserGpuRequest request, string name, PayloadLayout layout, int size) => new()
    {
        Channel = VhostUserChannel.Gpu,
        Code = (uint)request,
        Name = "VHOST_USER_GPU_" + name,
        Section = "vhost-user-gpu, Message types",
        Layout = layout,
        Payload = PayloadRange.Exactly(size),
        Reply = ReplyRule.Never,
    };
}
