using Vhost.Protocol;

namespace Vhost.Conformance.Tests.Mutants;

// Negotiation, configuration space, status, reset and the back-end channel.
internal sealed partial class HandSession
{
    private const uint CutConfig = 32;

    private byte _status;
    private bool _refusedFeatures;
    private bool _askedProtocol;
    private bool _stateOutcome;
    private int _featureAsks;

    private VirtioFeatures OfferedFeatures => (VirtioFeatures)Backend.Disk.Features | VirtioFeatures.EventIndex | VirtioFeatures.IndirectDescriptors
        | VirtioFeatures.RingPacked | VirtioFeatures.AccessPlatform | VirtioFeatures.LogAll | VirtioFeatures.VhostUserProtocolFeatures
        | (Is(Sin.OffersNoVersion1) ? VirtioFeatures.None : VirtioFeatures.Version1);

    private static VhostUserProtocolFeatures OfferedProtocolFeatures => VhostUserProtocolFeatures.MultiQueue | VhostUserProtocolFeatures.LogShmFd
        | VhostUserProtocolFeatures.ReplyAck | VhostUserProtocolFeatures.BackendReq | VhostUserProtocolFeatures.Config
        | VhostUserProtocolFeatures.InflightShmFd | VhostUserProtocolFeatures.ResetDevice | VhostUserProtocolFeatures.ConfigureMemSlots
        | VhostUserProtocolFeatures.Status | VhostUserProtocolFeatures.DeviceState;

    /// <summary>A ring broke: the driver has to reset the device.</summary>
    public void DeviceFailed()
    {
        if (_status != 0 && !Is(Sin.HidesFailure)) _status |= (byte)VirtioDeviceStatus.NeedsReset;
    }

    private HandAnswer GetFeatures()
    {
        VirtioFeatures features = _state.Offered;
        if (Is(Sin.FeaturesChangeBetweenAsks) && _featureAsks++ % 2 == 1) features &= ~VirtioFeatures.IndirectDescriptors;
        if (Is(Sin.ProtocolFeaturesWithoutBit)) features &= ~VirtioFeatures.VhostUserProtocolFeatures;
        return HandAnswer.Reply((ulong)features);
    }

    private HandAnswer SetFeatures(ulong value)
    {
        VirtioFeatures features = (VirtioFeatures)value;
        VirtioFeatures changed = features ^ _state.Features;
        _refusedFeatures = (features & ~_state.Offered) != 0 && !Is(Sin.AcceptsUnofferedFeature);
        bool running = _vrings.Any(static v => v.IsStarted) && (changed & ~VirtioFeatures.LogAll) != 0;
        if (_refusedFeatures && Is(Sin.AppliesRefusedFeatures)) _state = _state with { Features = features & _state.Offered };
        if (_refusedFeatures || running) return HandAnswer.Refused;
        if (Is(Sin.ForgetsFeatures)) return HandAnswer.Done;
        if (Is(Sin.DropsPackedBit)) features &= ~VirtioFeatures.RingPacked;
        _state = _state with { Features = features };
        return HandAnswer.Done;
    }

    private HandAnswer GetProtocolFeatures()
    {
        _askedProtocol = true;
        return HandAnswer.Reply((ulong)_state.OfferedProtocol);
    }

    private HandAnswer SetProtocolFeatures(ulong value)
    {
        VhostUserProtocolFeatures features = (VhostUserProtocolFeatures)value;
        if ((features & ~_state.OfferedProtocol) != 0) return HandAnswer.Refused;
        if (!_askedProtocol && Is(Sin.WantsProtocolFeaturesAsked)) return HandAnswer.Refused;
        _state = _state with { Protocol = features };
        return HandAnswer.Done;
    }

    private HandAnswer GetConfig(VhostUserMessage message)
    {
        VhostUserConfig said = Read<VhostUserConfig>(message);
        bool fits = said.Size is > 0 and <= VhostUserConfig.MaxWindow && message.Payload.Length == VhostUserConfig.HeaderSize + said.Size;
        bool inside = (ulong)said.Offset + said.Size <= (Is(Sin.ConfigTooSmall) ? CutConfig : HandDisk.ConfigSize);
        if (!fits || (!inside && !Is(Sin.ReadsConfigBeyondEnd))) return new HandAnswer(IsDone: true, []);
        uint offset = Is(Sin.IgnoresConfigOffset) ? 0 : said.Offset;
        uint size = Is(Sin.IgnoresConfigSize) ? 8 : said.Size;
        byte[] space = [.. Is(Sin.ConfigAllZero) ? new byte[HandDisk.ConfigSize] : Backend.Disk.Config(), .. new byte[512]];
        byte[] reply = new byte[VhostUserConfig.HeaderSize + size];
        said.Write(reply);
        space.AsSpan((int)Math.Min(offset, 256), (int)size).CopyTo(reply.AsSpan(VhostUserConfig.HeaderSize));
        return new HandAnswer(IsDone: true, reply);
    }

    private bool TrySetConfig(VhostUserMessage message)
    {
        if (!VhostUserConfig.TryRead(message.Payload, out VhostUserConfig said, out ReadOnlySpan<byte> window) || said.Size == 0) return false;
        if ((ulong)said.Offset + said.Size > HandDisk.ConfigSize) return Is(Sin.WritesConfigBeyondEnd);
        if (said.Flags > VhostUserConfigFlags.Migration) return false;
        bool migrates = said.Flags == VhostUserConfigFlags.Migration;
        bool writable = said is { Offset: VirtioBlkConfig.WriteBackOffset, Size: 1 } && window[0] <= 1;
        if (!writable && !migrates) return Is(Sin.AcceptsReadOnlyField);
        int at = VirtioBlkConfig.WriteBackOffset - (int)said.Offset;
        if (at >= 0 && at < window.Length && !Is(Sin.ForgetsConfig)) Backend.Disk.WriteBack = (byte)(window[at] & 1);
        return true;
    }

    private HandAnswer SetStatus(ulong value)
    {
        if (value > byte.MaxValue) return HandAnswer.Refused;
        if (value == 0 && !Is(Sin.StatusZeroDoesNotReset)) StopAll();
        VirtioDeviceStatus status = (VirtioDeviceStatus)value;
        if (_refusedFeatures && !Is(Sin.KeepsFeaturesOk)) status &= ~VirtioDeviceStatus.FeaturesOk;
        if (Is(Sin.AddsStatusBits)) status |= (VirtioDeviceStatus)_status;
        if (!Is(Sin.ForgetsStatus)) _status = (byte)status;
        return HandAnswer.Done;
    }

    /// <summary>Memory and protocol features stay; everything else is as in the beginning.</summary>
    private HandAnswer ResetDevice()
    {
        if (Is(Sin.ForgetsReset)) return HandAnswer.Done;
        foreach (HandVring vring in _vrings) vring.Forget();
        Inflight?.Dispose();
        Inflight = null;
        Iotlb.Clear();
        if (!Is(Sin.StatusSurvivesReset)) _status = 0;
        (_refusedFeatures, Backend.Disk.WriteBack) = (false, 1);
        _state = _state with { Features = VirtioFeatures.None };
        return HandAnswer.Done;
    }

    private HandAnswer ResetOwner()
    {
        if (Is(Sin.ResetOwnerEndsSession)) End();
        StopAll();
        return HandAnswer.Done;
    }

    private void StopAll()
    {
        foreach (HandVring vring in _vrings) vring.Stop();
    }

    private HandAnswer SetChannel(VhostUserMessage message) =>
        HandAnswer.If(message.DescriptorCount == 0 || Channel.TryUse(message.TakeDescriptor(0)));
}
