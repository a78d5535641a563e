using Vhost.Protocol;
using PF = Vhost.Protocol.VhostUserProtocolFeatures;
using VF = Vhost.Protocol.VirtioFeatures;

namespace Vhost.Backend.Tests.Hostile;

/// <summary>
/// Every message of a front-end, written down from the text of vhost-user ("Front-end message types") and not from the table of the library, which is compared with it. Where the library is more lenient than the text,
/// or the text leaves a choice, the row says so.
/// </summary>
internal static class FrontendMessages
{
    public static IReadOnlyList<FrontendMessage> All { get; } =
    [
        new(VhostUserRequest.GetFeatures, 0) { Answer = 8 },
        new(VhostUserRequest.SetFeatures, 8),
        new(VhostUserRequest.SetOwner, 0),
        new(VhostUserRequest.ResetOwner, 0),
        // One descriptor for each region, of which there are none to eight.
        new(VhostUserRequest.SetMemTable, [.. Enumerable.Range(0, 9).Select(static regions => 8 + (32 * regions))]) { Most = 8, Usual = 1 },
        // Eight bytes without LOG_SHMFD are legal, and refused all the same: an address of another process is of no use. Sixteen without a descriptor are no message. That an answer must come is
        // all that is said of it; this one repeats the request.
        new(VhostUserRequest.SetLogBase, 8, 16) { Most = 1, Usual = 1, Answer = 16, Offered = VF.LogAll, FormProtocol = PF.LogShmFd },
        new(VhostUserRequest.SetLogFd, 0) { Fewest = 1, Most = 1, Offered = VF.LogAll },
        new(VhostUserRequest.SetVringNum, 8),
        new(VhostUserRequest.SetVringAddr, 40),
        new(VhostUserRequest.SetVringBase, 8),
        new(VhostUserRequest.GetVringBase, 8) { Answer = 8 },
        // Bit 8 of the payload says that no descriptor comes.
        new(VhostUserRequest.SetVringKick, 8) { Most = 1, Usual = 1 },
        new(VhostUserRequest.SetVringCall, 8) { Most = 1, Usual = 1 },
        new(VhostUserRequest.SetVringErr, 8) { Most = 1, Usual = 1 },
        new(VhostUserRequest.GetProtocolFeatures, 0) { Answer = 8, Offered = VF.VhostUserProtocolFeatures },
        new(VhostUserRequest.SetProtocolFeatures, 8) { Offered = VF.VhostUserProtocolFeatures },
        // SPDK asks without having acknowledged the bit.
        new(VhostUserRequest.GetQueueNum, 0) { Answer = 8, OfferedProtocol = PF.MultiQueue },
        // Lenient: the text wants the bit acknowledged; QEMU enables before it says its features.
        new(VhostUserRequest.SetVringEnable, 8) { Offered = VF.VhostUserProtocolFeatures },
        new(VhostUserRequest.SendRarp, 8) { Protocol = PF.Rarp },
        // Lenient: QEMU says it before its features.
        new(VhostUserRequest.NetSetMtu, 8) { Protocol = PF.NetMtu, Offered = EverythingDevice.NetMtu },
        new(VhostUserRequest.SetBackendReqFd, 0) { Fewest = 1, Most = 1, Protocol = PF.BackendReq },
        // Lenient: 26 bytes by the fields, 32 by the padding of the structure that everybody sends.
        new(VhostUserRequest.IotlbMsg, 26, 32) { Features = VF.AccessPlatform },
        new(VhostUserRequest.SetVringEndian, 8) { Protocol = PF.CrossEndian, Forbidden = VF.Version1 },
        // As many bytes as are asked for, in the question and in the answer.
        new(VhostUserRequest.GetConfig, [.. Enumerable.Range(12, 257)]) { Answer = 20, Protocol = PF.Config },
        new(VhostUserRequest.SetConfig, [.. Enumerable.Range(12, 257)]) { Protocol = PF.Config },
        // Three layouts in two sizes.
        new(VhostUserRequest.CreateCryptoSession, 632, 1072) { Answer = 632, Protocol = PF.CryptoSession },
        new(VhostUserRequest.CloseCryptoSession, 8) { Protocol = PF.CryptoSession },
        new(VhostUserRequest.PostcopyAdvise, 0) { Answer = 0, AnswerDescriptors = 1, Protocol = PF.PageFault },
        new(VhostUserRequest.PostcopyListen, 0) { Protocol = PF.PageFault },
        new(VhostUserRequest.PostcopyEnd, 0) { Protocol = PF.PageFault },
        // Lenient: 20 bytes by the fields, 24 by the padding that everybody sends.
        new(VhostUserRequest.GetInflightFd, 20, 24) { Answer = 24, AnswerDescriptors = 1, Protocol = PF.InflightShmFd },
        new(VhostUserRequest.SetInflightFd, 20, 24) { Fewest = 1, Most = 1, Protocol = PF.InflightShmFd },
        new(VhostUserRequest.GpuSetSocket, 0) { Fewest = 1, Most = 1 },
        new(VhostUserRequest.ResetDevice, 0) { Protocol = PF.ResetDevice },
        new(VhostUserRequest.VringKick, 8) { Protocol = PF.InbandNotifications },
        new(VhostUserRequest.GetMaxMemSlots, 0) { Answer = 8, Protocol = PF.ConfigureMemSlots },
        new(VhostUserRequest.AddMemReg, 40) { Fewest = 1, Most = 1, Protocol = PF.ConfigureMemSlots },
        // Lenient: no descriptor comes by the text, which lets a back-end take one; virtio-driver (libblkio) sends it. It is closed.
        new(VhostUserRequest.RemMemReg, 40) { Most = 1, IsLenient = true, Protocol = PF.ConfigureMemSlots },
        new(VhostUserRequest.SetStatus, 8) { Protocol = PF.Status },
        new(VhostUserRequest.GetStatus, 0) { Answer = 8, Protocol = PF.Status },
        // Lenient: QEMU forgets the sixteen bytes, and gets no descriptor. The answer repeats the request.
        new(VhostUserRequest.GetSharedObject, 0, 16) { Answer = 16, AnswerDescriptors = 1, Protocol = PF.SharedObject },
        new(VhostUserRequest.SetDeviceStateFd, 8) { Fewest = 1, Most = 1, Answer = 8, Protocol = PF.DeviceState },
        new(VhostUserRequest.CheckDeviceState, 0) { Answer = 8, Protocol = PF.DeviceState },
        new(VhostUserRequest.GetShmemConfig, 0) { Answer = 2056, Protocol = PF.Shmem },
        new(VhostUserRequest.GetVringBaseSkipDrain, 8) { Answer = 8, Protocol = PF.GetVringBaseSkipDrain | PF.GetVringBaseInflight | PF.InflightShmFd },
    ];

    public static FrontendMessage Of(VhostUserRequest request) => All.Single(message => message.Request == request);
}
