using System.Diagnostics.CodeAnalysis;
using System.Numerics;
using Vhost.Protocol;

namespace Vhost.Conformance.Tests.Mutants;

// What the front-end says about rings.
internal sealed partial class HandSession
{
    private bool TryFind(uint index, [NotNullWhen(true)] out HandVring? vring)
    {
        if (Is(Sin.HugeIndexStopsListening) && index == uint.MaxValue)
        {
            Backend.IsDeaf = true;
            IsWedged = true;
        }

        if (Is(Sin.CutsIndexTo16Bits)) index = (ushort)index;
        vring = index < _vrings.Length ? _vrings[index] : null;
        return vring is not null;
    }

    private bool IsFree(HandVring vring) => !vring.IsStarted;

    private bool TrySetSize(VhostUserVringState said)
    {
        if (!TryFind(said.Index, out HandVring? vring)) return Is(Sin.AcceptsRingBeyondLast);
        if (!IsFree(vring)) return false;
        if (said.Num == 0) return Is(Sin.AcceptsSizeZero);
        if (said.Num > MaxQueueSize) return false;
        bool two = BitOperations.IsPow2(said.Num);
        bool packed = Has(VirtioFeatures.RingPacked);
        if (!two && (!packed || Is(Sin.RefusesOddPackedSize))) return false;
        vring.Size = said.Num;
        return true;
    }

    private bool TrySetAddress(VhostUserVringAddress said)
    {
        const ulong TablePart = 15;
        if (!TryFind(said.Index, out HandVring? vring)) return false;
        if ((said.Flags & ~VhostUserVringAddress.LogUsedRing) != 0) return false;
        bool same = vring.Address is { } old && old with { Flags = said.Flags, LogGuestAddress = said.LogGuestAddress } == said;
        if (!same && !IsFree(vring)) return false;
        ulong available = Has(VirtioFeatures.RingPacked) ? 3UL : 1;
        bool aligned = (said.DescriptorTable.Value & TablePart) == 0 && (said.AvailableRing.Value & available) == 0 && (said.UsedRing.Value & 3) == 0;
        if (!aligned) return false;
        vring.Address = said;
        return true;
    }

    private bool TrySetBase(VhostUserVringState said)
    {
        if (!TryFind(said.Index, out HandVring? vring) || !IsFree(vring)) return false;
        if (!Has(VirtioFeatures.RingPacked) && said.Num > ushort.MaxValue) return false;
        if (!Is(Sin.IgnoresBase)) vring.Base = said.Num;
        return true;
    }

    private HandAnswer GetBase(VhostUserVringState said)
    {
        if (!TryFind(said.Index, out HandVring? vring)) return Is(Sin.AnswersBaseOfRingBeyondLast) ? HandAnswer.Reply(said) : HandAnswer.Refused;
        if (!vring.IsStarted && Is(Sin.WantsRingStartedForBase)) return HandAnswer.Refused;
        uint position = vring.Stop();
        if (Is(Sin.StopStopsAll)) StopAll();
        if (Is(Sin.BaseIsZero)) position = 0;
        if (Is(Sin.BaseIsOneBehind)) position--;
        return HandAnswer.Reply(new VhostUserVringState(Is(Sin.AnswersOtherRing) ? said.Index ^ 1 : said.Index, position));
    }

    private bool TryEnable(VhostUserVringState said)
    {
        if (!TryFind(said.Index, out HandVring? vring) || said.Num > 1) return false;
        foreach (HandVring other in _vrings)
        {
            if (other == vring || Is(Sin.EnablesAllRings)) other.Enable(said.Num != 0);
        }

        return true;
    }

    private bool TrySetNotifier(VhostUserMessage message)
    {
        VhostUserVringDescriptor said = Read<VhostUserVringDescriptor>(message);
        if (said.HasReservedBits || !TryFind(said.Index, out HandVring? vring)) return false;
        int expected = said.NoDescriptor ? 0 : 1;
        if (message.DescriptorCount < expected) return false;
        if (message.DescriptorCount > expected && said.NoDescriptor) return false;
        EventNotifier? notifier = null;
        if (message.DescriptorCount > 0 && !TryTakeNotifier(message, out notifier)) return false;
        return TrySetNotifier((VhostUserRequest)message.Header.Request, vring, notifier);
    }

    private bool TrySetNotifier(VhostUserRequest request, HandVring vring, EventNotifier? notifier)
    {
        switch (request)
        {
            case VhostUserRequest.SetVringCall:
                vring.ReplaceCall(notifier);
                return true;
            case VhostUserRequest.SetVringErr:
                vring.ReplaceError(notifier);
                return true;
            default:
                if (notifier is null && Is(Sin.RefusesPolling)) return false;
                return vring.TryStart(notifier);
        }
    }

    private static bool TryTakeNotifier(VhostUserMessage message, out EventNotifier? notifier)
    {
        try
        {
            notifier = new EventNotifier(message.TakeDescriptor(0));
            return true;
        }
        catch (ArgumentException)
        {
            notifier = null;
            return false;
        }
    }
}
