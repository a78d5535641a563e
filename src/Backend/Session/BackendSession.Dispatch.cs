using Vhost.Protocol;

namespace Vhost.Backend;

// One line per request that this back-end carries out. The contract table has already refused what is not negotiated.
internal sealed partial class BackendSession
{
    private ValueTask<Answer> DispatchAsync(VhostUserMessage message) => (VhostUserRequest)message.Header.Request switch
    {
        VhostUserRequest.GetFeatures => Now(GetFeatures()),
        VhostUserRequest.SetFeatures => SetFeaturesAsync(Decode<VhostUserU64>(message).Value),
        VhostUserRequest.GetProtocolFeatures => Now(GetProtocolFeatures()),
        VhostUserRequest.SetProtocolFeatures => Now(SetProtocolFeatures(Decode<VhostUserU64>(message).Value)),
        VhostUserRequest.SetOwner => Now(Answer.Done),
        VhostUserRequest.ResetOwner => ResetDeviceAsync(),
        VhostUserRequest.ResetDevice => ResetDeviceAsync(),
        VhostUserRequest.GetQueueNum => Now(GetQueueNumber()),
        VhostUserRequest.SetStatus => SetStatusAsync(Decode<VhostUserU64>(message).Value),
        VhostUserRequest.GetStatus => Now(Answer.Reply(new VhostUserU64((ulong)_status.Value))),

        VhostUserRequest.SetMemTable => SetMemoryTableAsync(message),
        VhostUserRequest.GetMaxMemSlots => Now(Answer.Reply(new VhostUserU64((ulong)_options.MaxMemorySlots))),
        VhostUserRequest.AddMemReg => AddMemoryRegionAsync(message),
        VhostUserRequest.RemMemReg => RemoveMemoryRegionAsync(Decode<VhostUserSingleRegion>(message).Region),

        VhostUserRequest.IotlbMsg => ChangeTranslationsAsync(Decode<VhostUserIotlb>(message)),
        VhostUserRequest.PostcopyAdvise => Now(AdvisePostcopy()),
        VhostUserRequest.PostcopyListen => Now(ListenPostcopy()),
        VhostUserRequest.PostcopyEnd => EndPostcopyAsync(),

        VhostUserRequest.SetLogBase => SetLogBaseAsync(message),
        VhostUserRequest.SetLogFd => SetLogDescriptorAsync(message),

        VhostUserRequest.SetVringNum => Now(SetVringSize(Decode<VhostUserVringState>(message))),
        VhostUserRequest.SetVringAddr => SetVringAddressAsync(Decode<VhostUserVringAddress>(message)),
        VhostUserRequest.SetVringBase => Now(SetVringBase(Decode<VhostUserVringState>(message))),
        VhostUserRequest.GetVringBase or VhostUserRequest.GetVringBaseSkipDrain => GetVringBaseAsync(message),
        VhostUserRequest.SetVringKick => SetVringKickAsync(message),
        VhostUserRequest.SetVringCall => SetVringCallAsync(message),
        VhostUserRequest.SetVringErr => Now(SetVringError(message)),
        VhostUserRequest.SetVringEnable => SetVringEnableAsync(Decode<VhostUserVringState>(message)),
        VhostUserRequest.SetVringEndian => Now(SetVringEndian(Decode<VhostUserVringState>(message))),
        VhostUserRequest.VringKick => KickVringAsync(Decode<VhostUserVringState>(message)),

        VhostUserRequest.SendRarp => Now(AnnounceAddress(Decode<VhostUserU64>(message).Value)),
        VhostUserRequest.NetSetMtu => Now(SetMtu(Decode<VhostUserU64>(message).Value)),

        VhostUserRequest.GetConfig => Now(GetConfig(message)),
        VhostUserRequest.SetConfig => Now(SetConfig(message)),
        VhostUserRequest.SetBackendReqFd => SetBackendChannelAsync(message),

        VhostUserRequest.GetInflightFd => Now(GetInflightArea(Decode<VhostUserInflight>(message))),
        VhostUserRequest.SetInflightFd => Now(SetInflightArea(message)),

        VhostUserRequest.CreateCryptoSession => Now(CreateCryptoSession(message)),
        VhostUserRequest.CloseCryptoSession => Now(CloseCryptoSession(Decode<VhostUserU64>(message).Value)),
        VhostUserRequest.GpuSetSocket => SetGpuSocketAsync(message),
        VhostUserRequest.GetSharedObject => Now(GetSharedObject(message)),
        VhostUserRequest.GetShmemConfig => Now(GetSharedMemoryConfig()),

        VhostUserRequest.SetDeviceStateFd => BeginDeviceStateAsync(message),
        VhostUserRequest.CheckDeviceState => CheckDeviceStateAsync(),

        _ => Now(Answer.Ignore(VhostUserViolation.UnknownRequest, $"{NameOf(message)} is not implemented")),
    };

    private static ValueTask<Answer> Now(Answer answer) => ValueTask.FromResult(answer);

    private static string NameOf(VhostUserMessage message) => MessageContracts.NameOf(VhostUserChannel.Main, message.Header.Request);

    /// <summary>The payload of a message that the contract table has passed; a codec that is stricter than the table ends the connection.</summary>
    private static TPayload Decode<TPayload>(VhostUserMessage message)
        where TPayload : struct, IVhostUserPayload<TPayload> =>
        TPayload.TryRead(message.Payload, out TPayload value)
            ? value
            : throw new VhostUserProtocolException(
                VhostUserViolation.BadValue, $"{NameOf(message)}: the payload of {message.Payload.Length} bytes cannot be read");
}
