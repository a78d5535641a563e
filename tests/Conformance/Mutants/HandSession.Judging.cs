using Vhost.Protocol;

namespace Vhost.Conformance.Tests.Mutants;

// Whether a message may be carried out at all. The contracts know sizes, descriptors and gates.
internal sealed partial class HandSession
{
    /// <summary>A header that breaks the protocol itself ends the connection: what follows it cannot be trusted.</summary>
    private bool IsSound(VhostUserHeader header)
    {
        if (Is(Sin.WantsOwnerFirst) && _handled == 0 && header.Request != (uint)VhostUserRequest.SetOwner) return false;
        return MessageValidator.CheckHeader(header).IsValid && !header.IsReply;
    }

    private bool IsAllowed(VhostUserMessage message)
    {
        VhostUserHeader header = message.Header;
        int descriptors = message.DescriptorCount;
        if (!MessageContracts.TryGet(VhostUserChannel.Main, header.Request, out MessageContract? contract) || !IsServed(contract)) return false;
        if (Is(Sin.AcceptsWrongPayloadSize) && !contract.Payload.Contains(header.PayloadSize)) header = header with { PayloadSize = (uint)contract.MinPayload };
        if (Is(Sin.AcceptsNineRegions) && header is { Request: (uint)VhostUserRequest.SetMemTable, PayloadSize: 296 })
            (header, descriptors) = (header with { PayloadSize = 264 }, Math.Min(descriptors, 8));
        if (Is(Sin.AcceptsChannelWithoutDescriptor) && header.Request == (uint)VhostUserRequest.SetBackendReqFd) descriptors = 1;
        return MessageValidator.CheckRequest(VhostUserChannel.Main, header, descriptors, _state).IsValid;
    }

    /// <summary>Requests of protocol features that are not offered are as unknown as codes that are not assigned.</summary>
    private static bool IsServed(MessageContract contract) => (VhostUserRequest)contract.Code is not (VhostUserRequest.GpuSetSocket or VhostUserRequest.SetVringEndian);

    private T Read<T>(VhostUserMessage message)
        where T : struct, IVhostUserPayload<T>
    {
        if (T.TryRead(message.Payload, out T value) || !Is(Sin.AcceptsWrongPayloadSize)) return value;
        byte[] padded = new byte[new T().EncodedSize];
        message.Payload[..Math.Min(message.Payload.Length, padded.Length)].CopyTo(padded);
        T.TryRead(padded, out value);
        return value;
    }

    private HandAnswer Dispatch(VhostUserMessage message) => (VhostUserRequest)message.Header.Request switch
    {
        VhostUserRequest.GetFeatures => GetFeatures(),
        VhostUserRequest.SetFeatures => SetFeatures(Read<VhostUserU64>(message).Value),
        VhostUserRequest.SetOwner => HandAnswer.Done,
        VhostUserRequest.ResetOwner => ResetOwner(),
        VhostUserRequest.GetProtocolFeatures => GetProtocolFeatures(),
        VhostUserRequest.SetProtocolFeatures => SetProtocolFeatures(Read<VhostUserU64>(message).Value),
        VhostUserRequest.GetQueueNum => HandAnswer.Reply(Is(Sin.CountsPairsOfQueues) ? HandBackend.QueueCount / 2u : HandBackend.QueueCount),
        VhostUserRequest.GetConfig => GetConfig(message),
        VhostUserRequest.SetConfig => HandAnswer.If(TrySetConfig(message)),
        VhostUserRequest.SetStatus => SetStatus(Read<VhostUserU64>(message).Value),
        VhostUserRequest.GetStatus => HandAnswer.Reply(_status),
        VhostUserRequest.ResetDevice => ResetDevice(),
        VhostUserRequest.SetBackendReqFd => SetChannel(message),
        VhostUserRequest.SetDeviceStateFd => _transfer.Begin(Read<VhostUserDeviceState>(message), message.TakeDescriptor(0), _vrings.Any(static v => v.IsStarted)),
        VhostUserRequest.CheckDeviceState => HandAnswer.Reply(_stateOutcome ? 0u : 1),
        _ => DispatchMemory(message),
    };

    private HandAnswer DispatchMemory(VhostUserMessage message) => (VhostUserRequest)message.Header.Request switch
    {
        VhostUserRequest.SetMemTable => HandAnswer.If(TrySetTableOrDrop(message)),
        VhostUserRequest.GetMaxMemSlots => HandAnswer.Reply(Is(Sin.OffersNoSlots) ? 0u : MaxSlots),
        VhostUserRequest.AddMemReg => HandAnswer.If(TryAddRegion(message)),
        VhostUserRequest.RemMemReg => HandAnswer.If(TryRemoveRegion(Read<VhostUserSingleRegion>(message).Region)),
        VhostUserRequest.SetLogBase => HandAnswer.If(TrySetLog(message)),
        VhostUserRequest.SetLogFd => HandAnswer.If(TrySetLogChanged(message)),
        VhostUserRequest.GetInflightFd => GetInflight(Read<VhostUserInflight>(message)),
        VhostUserRequest.SetInflightFd => HandAnswer.If(TrySetInflight(message)),
        VhostUserRequest.IotlbMsg => HandAnswer.If(TryTranslation(Read<VhostUserIotlb>(message))),
        _ => DispatchRing(message),
    };

    private HandAnswer DispatchRing(VhostUserMessage message) => (VhostUserRequest)message.Header.Request switch
    {
        VhostUserRequest.SetVringNum => HandAnswer.If(TrySetSize(Read<VhostUserVringState>(message))),
        VhostUserRequest.SetVringAddr => HandAnswer.If(TrySetAddress(Read<VhostUserVringAddress>(message))),
        VhostUserRequest.SetVringBase => HandAnswer.If(TrySetBase(Read<VhostUserVringState>(message))),
        VhostUserRequest.GetVringBase => GetBase(Read<VhostUserVringState>(message)),
        VhostUserRequest.SetVringKick or VhostUserRequest.SetVringCall or VhostUserRequest.SetVringErr => HandAnswer.If(TrySetNotifier(message)),
        VhostUserRequest.SetVringEnable => HandAnswer.If(TryEnable(Read<VhostUserVringState>(message))),
        _ => HandAnswer.Refused,
    };
}
