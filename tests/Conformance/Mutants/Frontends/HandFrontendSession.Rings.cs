using System.IO.Pipes;
using System.Runtime.InteropServices;
using Vhost.Protocol;

namespace Vhost.Conformance.Tests;

// The one ring: how it is described, started, stopped and started again.
internal sealed partial class HandFrontendSession
{
    private const uint RingSize = 16;

    private EventNotifier? _kick;
    private EventNotifier? _call;

    private ulong DescriptorTable => _sin == FrontendSin.DescriptorTableNotAligned ? 8UL : 0;

    private ulong AvailableRing => _sin == FrontendSin.AvailableRingNotAligned ? 0x1001UL : 0x1000;

    private ulong UsedRing => _sin == FrontendSin.UsedRingNotAligned ? 0x2002UL : 0x2000;

    private ulong IndirectTable => 0x3000;

    private async Task BringUpAsync()
    {
        (_kick, _call) = (Own(new EventNotifier()), Own(new EventNotifier()));
        if (_sin == FrontendSin.KicksBeforeMemory) await StartRingAsync(Standing);
        if (_sin == FrontendSin.AcknowledgesFeaturesLast) await ShareAndStartAsync();
        if (_sin == FrontendSin.AcknowledgesFeaturesLast) await AcknowledgeFeaturesAsync();
        else await ShareAndStartAsync();
    }

    private async Task ShareAndStartAsync()
    {
        await ShareMemoryAsync();
        if (Has(VhostUserProtocolFeatures.InflightShmFd)) await ShareInflightAsync();
        if (_sin != FrontendSin.KicksBeforeMemory) await StartRingAsync(Standing);
    }

    private async Task StartRingAsync(uint at)
    {
        if (_sin == FrontendSin.KicksBeforeSize) await KickAndCallAsync();
        uint size = _sin switch { FrontendSin.RingSizeOdd => 15, FrontendSin.RingSizeTooLarge => 65_536, FrontendSin.RingSizeZero => 0, _ => RingSize };
        byte[] num = State(0, size);
        await TellAsync(VhostUserRequest.SetVringNum, _sin == FrontendSin.SizeTooLong ? [.. num, .. num] : num);
        if (_sin == FrontendSin.KicksBeforeBase) await KickAndCallAsync();
        if (_sin != FrontendSin.NeverSaysBase) await TellAsync(VhostUserRequest.SetVringBase, State(0, _sin == FrontendSin.BaseAhead ? at + 1 : at));
        if (_sin == FrontendSin.KicksBeforeAddress) await KickAndCallAsync();
        await TellAsync(VhostUserRequest.SetVringAddr, Payload(Address()));
        if (_sin is not (FrontendSin.KicksBeforeSize or FrontendSin.KicksBeforeAddress or FrontendSin.KicksBeforeBase)) await KickAndCallAsync();
        if (_sin == FrontendSin.SpeaksOfStrangeRing) await TellAsync(VhostUserRequest.SetVringNum, State(1, RingSize));
        if ((Has(VirtioFeatures.VhostUserProtocolFeatures) && _sin != FrontendSin.NeverEnables) || _sin == FrontendSin.EnablesWithoutBit)
            await TellAsync(VhostUserRequest.SetVringEnable, State(0, _sin == FrontendSin.EnablesWithTwo ? 2U : 1));
    }

    private VhostUserVringAddress Address()
    {
        ulong beyond = _sin == FrontendSin.RingOutsideMemory ? 0x100_0000UL : 0, user = UserOffset;
        if (_sin == FrontendSin.RingInGuestAddresses) user = 0;
        uint flags = _sin == FrontendSin.LogsWithoutBit ? VhostUserVringAddress.LogUsedRing : 0;
        return new(0, flags, new(DescriptorTable + user), new(UsedRing + user + beyond), new(AvailableRing + user), 0);
    }

    private async Task KickAndCallAsync()
    {
        SafeHandle call = _sin == FrontendSin.PipeForCall ? Own(new AnonymousPipeServerStream(System.IO.Pipes.PipeDirection.Out)).SafePipeHandle : _call!.Descriptor;
        SafeHandle kick = _sin == FrontendSin.PipeForKick ? Own(new AnonymousPipeServerStream(System.IO.Pipes.PipeDirection.In)).SafePipeHandle : _kick!.Descriptor;
        await TellAsync(VhostUserRequest.SetVringCall, U64(_sin == FrontendSin.SaysNoCallWithDescriptor ? 0x100UL : 0), call);
        await TellAsync(VhostUserRequest.SetVringKick, U64(_sin == FrontendSin.SaysNoKickWithDescriptor ? 0x100UL : 0), _sin == FrontendSin.KickWithoutDescriptor ? [] : [kick]);
    }

    private async Task RestartAsync()
    {
        (byte[] reply, _) = await AskAsync(VhostUserRequest.GetVringBase, State(0, 0), VhostUserVringState.Size, 0);
        _ = VhostUserVringState.TryRead(reply, out VhostUserVringState stopped);
        if (_sin == FrontendSin.DiesOfStrangeBase && stopped.Num != Standing) throw new HandCrashException();
        if (_sin == FrontendSin.DiesOfBaseOfOtherRing && stopped.Index != 0) throw new HandCrashException();
        Require(stopped.Index == 0 && stopped.Num == Standing, "the base at which the ring stands");
        await StartRingAsync(_sin == FrontendSin.RestartsFromZero ? 0 : stopped.Num);
    }

    private static byte[] State(uint ring, uint num) => Payload(new VhostUserVringState(ring, num));
}
