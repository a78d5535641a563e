using PF = Vhost.Protocol.VhostUserProtocolFeatures;

namespace Vhost.Protocol;

/// <summary>Requests of the back-end on the back-end channel. Each needs BACKEND_REQ beside its own feature.</summary>
internal static class BackendContracts
{
    public static MessageContract[] Rows { get; } =
    [
        Row(VhostUserBackendRequest.IotlbMsg, "IOTLB_MSG", PayloadLayout.Iotlb, PayloadRange.Either(26, 32), PF.None) with
        {
            RequiredFeatures = VirtioFeatures.AccessPlatform, Note = "sent with 32 bytes; a miss is answered after the update was sent",
        },
        Row(VhostUserBackendRequest.ConfigChangeMsg, "CONFIG_CHANGE_MSG", PayloadLayout.Empty, PayloadRange.Exactly(0), PF.Config),
        Row(VhostUserBackendRequest.VringHostNotifierMsg, "VRING_HOST_NOTIFIER_MSG", PayloadLayout.VringArea, PayloadRange.Exactly(24), PF.HostNotifier) with
        {
            MaxDescriptors = 1, Note = "bit 8 of the first word says that no descriptor comes: the notifier is removed",
        },
        Row(VhostUserBackendRequest.VringCall, "VRING_CALL", PayloadLayout.VringState, PayloadRange.Exactly(8), PF.InbandNotifications),
        Row(VhostUserBackendRequest.VringErr, "VRING_ERR", PayloadLayout.VringState, PayloadRange.Exactly(8), PF.InbandNotifications),
        Row(VhostUserBackendRequest.SharedObjectAdd, "SHARED_OBJECT_ADD", PayloadLayout.SharedObject, PayloadRange.Exactly(16), PF.SharedObject),
        Row(VhostUserBackendRequest.SharedObjectRemove, "SHARED_OBJECT_REMOVE", PayloadLayout.SharedObject, PayloadRange.Exactly(16), PF.SharedObject),
        Row(VhostUserBackendRequest.SharedObjectLookup, "SHARED_OBJECT_LOOKUP", PayloadLayout.SharedObject, PayloadRange.Exactly(16), PF.SharedObject) with
        {
            MaxDescriptors = 1,
            Reply = ReplyRule.Always,
            MaxReplyDescriptors = 1,
            Note = "no descriptor is sent; one is tolerated and closed (rust-vmm's handler wants it); the reply has one when it is 0",
        },
        Row(VhostUserBackendRequest.ShmemMap, "SHMEM_MAP", PayloadLayout.ShmemMap, PayloadRange.Exactly(40), PF.Shmem) with
        {
            MinDescriptors = 1, MaxDescriptors = 1,
        },
        Row(VhostUserBackendRequest.ShmemUnmap, "SHMEM_UNMAP", PayloadLayout.ShmemMap, PayloadRange.Exactly(40), PF.Shmem),
    ];

    private static MessageContract Row(VhostUserBackendRequest request, string name, PayloadLayout layout, PayloadRange payload, PF feature) => new()
    {
        Channel = VhostUserChannel.Backend,
        Code = (uint)request,
        Name = "VHOST_USER_BACKEND_" + name,
        Section = "vhost-user, Back-end message types",
        Layout = layout,
        Payload = payload,
        Reply = ReplyRule.AckOnly,
        RequiredProtocolFeatures = PF.BackendReq | feature,
    };
}
