using System.Numerics;
using Vhost.Protocol;

namespace Vhost.Backend;

// What the front-end says about rings. Whether a ring can run is decided where it starts, from everything said (BackendSession.Rings.cs).
internal sealed partial class BackendSession
{
    private const uint LogFlag = 1;

    private Answer SetVringSize(VhostUserVringState said)
    {
        const string Name = "VHOST_USER_SET_VRING_NUM";
        if (!TryFind(Name, said.Index, out VringState? vring, out Answer refusal))
            return refusal;
        if (vring.Started)
            return RefuseStarted(Name, vring);
        ushort largest = Math.Min(_device.MaxQueueSize, (ushort)32768);
        if (said.Num == 0 || said.Num > largest || (!IsPacked && !BitOperations.IsPow2(said.Num)))
        {
            return Answer.Refuse(
                VhostUserViolation.BadQueueSize,
                $"{Name}: queue {said.Index}: size {said.Num} is not {(IsPacked ? "a number" : "a power of two")} from 1 to {largest}");
        }

        vring.Size = (ushort)said.Num;
        return Answer.Done;
    }

    private Answer SetVringBase(VhostUserVringState said)
    {
        const string Name = "VHOST_USER_SET_VRING_BASE";
        if (!TryFind(Name, said.Index, out VringState? vring, out Answer refusal))
            return refusal;
        if (vring.Started)
            return RefuseStarted(Name, vring);
        if (!IsPacked && said.Num > ushort.MaxValue)
        {
            return Answer.Refuse(
                VhostUserViolation.BadValue, $"{Name}: queue {said.Index}: base 0x{said.Num:x} has more than the 16 bits of a split ring's index");
        }

        vring.Base = said.Num;
        vring.StoppedAtWork = false;
        return Answer.Done;
    }

    private async ValueTask<Answer> SetVringAddressAsync(VhostUserVringAddress said)
    {
        const string Name = "VHOST_USER_SET_VRING_ADDR";
        if (!TryFind(Name, said.Index, out VringState? vring, out Answer refusal))
            return refusal;
        if ((said.Flags & ~LogFlag) != 0)
        {
            return Answer.Refuse(
                VhostUserViolation.BadValue, $"{Name}: queue {said.Index}: unknown flags 0x{said.Flags:x}, only 0x1 (log) is defined");
        }

        if (said.Flags != 0 && !_state.Features.HasFlag(VirtioFeatures.LogAll))
        {
            return Answer.Refuse(
                VhostUserViolation.FeatureNotNegotiated, $"{Name}: queue {said.Index}: the log flag is set, but LOG_ALL was not negotiated");
        }

        if (vring.Started && !SameRing(vring.Address, said))
            return RefuseStarted(Name, vring);
        if (Misaligned(said) is { } explanation)
            return Answer.Refuse(VhostUserViolation.RingMisaligned, $"{Name}: queue {said.Index}: {explanation}");
        vring.Address = said;
        if (vring.Worker is { } worker)
            await worker.SetLogAsync(LogOf(vring)).ConfigureAwait(false);
        return Answer.Done;
    }

    /// <summary>
    /// Requests in flight are waited for, unless they are noted in an in-flight area for the next back-end and the front-end wants that: by a message of its own, or, where that is not negotiated, by
    /// GET_VRING_BASE_INFLIGHT for every stop. Whoever is told where a ring stopped goes on there, perhaps on another host: while requests before that place are under way there is no such place, and QEMU, which
    /// is told nothing, goes on at the used index. But not for packets that are lent: those are only read, and a network may lose them.
    /// </summary>
    private async ValueTask<Answer> GetVringBaseAsync(VhostUserMessage message)
    {
        VhostUserVringState said = Decode<VhostUserVringState>(message);
        if (!TryFind(NameOf(message), said.Index, out VringState? vring, out Answer refusal))
            return refusal;
        const VhostUserProtocolFeatures Both = VhostUserProtocolFeatures.GetVringBaseInflight | VhostUserProtocolFeatures.GetVringBaseSkipDrain;
        bool skips = message.Header.Request == (uint)VhostUserRequest.GetVringBaseSkipDrain || (_state.Protocol & Both) == VhostUserProtocolFeatures.GetVringBaseInflight;
        await StopVringAsync(vring, skips && _inflight is { } area && said.Index < area.Said.QueueCount ? _device as ISuspendableDevice : null).ConfigureAwait(false);
        if (vring.StoppedAtWork && !DeviceReadsOnly(vring.Index))
        {
            return Answer.Close(
                VhostUserViolation.WrongState,
                $"{NameOf(message)}: queue {said.Index}: not all requests that the device had taken were completed within {_options.DrainTimeout.TotalSeconds} s, or could be shown to the driver behind its IOMMU; whoever went on behind them would lose them");
        }

        Answer others = UsesIommu ? StartWaiting(NameOf(message)) : Answer.Done; // for which there was no room beside this one
        return others.Kind == AnswerKind.Done ? Answer.Reply(new VhostUserVringState(said.Index, BaseOf(vring))) : others;
    }

    private async ValueTask<Answer> SetVringEnableAsync(VhostUserVringState said)
    {
        const string Name = "VHOST_USER_SET_VRING_ENABLE";
        if (!TryFind(Name, said.Index, out VringState? vring, out Answer refusal))
            return refusal;
        if (said.Num > 1)
            return Answer.Refuse(VhostUserViolation.BadValue, $"{Name}: queue {said.Index}: {said.Num} is neither 0 nor 1");
        await EnableAsync(vring, said.Num == 1).ConfigureAwait(false);
        return Answer.Done;
    }

    /// <summary>Only legacy rings have a byte order of their own, and only the one of this host is served.</summary>
    private Answer SetVringEndian(VhostUserVringState said)
    {
        const string Name = "VHOST_USER_SET_VRING_ENDIAN";
        if (!TryFind(Name, said.Index, out VringState? vring, out Answer refusal))
            return refusal;
        if (vring.Started)
            return RefuseStarted(Name, vring);
        return said.Num switch
        {
            0 => Answer.Done,
            1 => Answer.Refuse(VhostUserViolation.BadValue, $"{Name}: queue {said.Index}: big-endian rings are not served, only little-endian ones (0)"),
            _ => Answer.Refuse(VhostUserViolation.BadValue, $"{Name}: queue {said.Index}: {said.Num} is neither 0 (little-endian) nor 1 (big-endian)"),
        };
    }

    private async ValueTask<Answer> SetVringKickAsync(VhostUserMessage message)
    {
        if (!TryTakeNotifier(message, out VringState? vring, out EventNotifier? kick, out Answer refusal))
            return refusal;
        if (vring.Started)
        {
            EventNotifier? old = vring.TakeKick();
            vring.ReplaceKick(kick);
            try
            {
                if (vring.Worker is { } worker)
                    await worker.SetKickAsync(kick).ConfigureAwait(false);
            }
            finally
            {
                old?.Dispose();
            }

            return Answer.Done;
        }

        await EndSaveAsync().ConfigureAwait(false);
        if (CheckStart("VHOST_USER_SET_VRING_KICK", vring) is { } reason)
        {
            kick?.Dispose();
            return reason;
        }

        vring.ReplaceKick(kick);
        StartVring(vring);
        return Answer.Done;
    }

    private void StartVring(VringState vring)
    {
        vring.Inband?.ForgetErrors();
        vring.Started = true;
        PinRings();
        StartIfPossible(vring);
        SendPendingConfigChange();
    }

    private async ValueTask<Answer> SetVringCallAsync(VhostUserMessage message)
    {
        if (!TryTakeNotifier(message, out VringState? vring, out EventNotifier? call, out Answer refusal))
            return refusal;
        EventNotifier? old = vring.Call;
        vring.Call = call;
        try
        {
            if (vring.Worker is { } worker)
                await worker.SetCallAsync(CallOf(vring)).ConfigureAwait(false);
        }
        finally
        {
            old?.Dispose();
        }

        return Answer.Done;
    }

    private Answer SetVringError(VhostUserMessage message)
    {
        if (!TryTakeNotifier(message, out VringState? vring, out EventNotifier? error, out Answer refusal))
            return refusal;
        vring.ReplaceError(error);
        return Answer.Done;
    }

    /// <summary>The ring and the descriptor of a kick, call or error message. Null with true: the front-end sends none, on purpose.</summary>
    private bool TryTakeNotifier(VhostUserMessage message, out VringState vring, out EventNotifier? notifier, out Answer refusal)
    {
        string name = NameOf(message);
        VhostUserVringDescriptor said = Decode<VhostUserVringDescriptor>(message);
        notifier = null;
        vring = null!;
        if (said.HasReservedBits)
        {
            refusal = Answer.Refuse(
                VhostUserViolation.BadQueueIndex,
                $"{name}: 0x{said.Raw:x} has reserved bits; queue index in bits 0 to 7, no-descriptor flag in bit 8");
            return false;
        }

        if (!TryFind(name, said.Index, out vring, out refusal))
            return false;
        int expected = said.NoDescriptor ? 0 : 1;
        if (message.DescriptorCount != expected)
        {
            refusal = Answer.Refuse(
                VhostUserViolation.WrongDescriptorCount,
                $"{name}: queue {said.Index}: {message.DescriptorCount} descriptors with the no-descriptor flag "
                + $"{(said.NoDescriptor ? "set" : "clear")}, {expected} expected");
            return false;
        }

        return said.NoDescriptor || TryWrap(name, message, said.Index, out notifier, out refusal);
    }

    private static bool TryWrap(string name, VhostUserMessage message, uint index, out EventNotifier? notifier, out Answer refusal)
    {
        try
        {
            notifier = new EventNotifier(message.TakeDescriptor(0));
            refusal = default;
            return true;
        }
        catch (ArgumentException e)
        {
            notifier = null;
            refusal = Answer.Refuse(VhostUserViolation.BadDescriptor, $"{name}: queue {index}: {e.Message}");
            return false;
        }
    }

    private bool TryFind(string request, uint index, out VringState vring, out Answer refusal)
    {
        if (index < (uint)_vrings.Length)
        {
            vring = _vrings[index];
            refusal = default;
            return true;
        }

        vring = null!;
        refusal = Answer.Refuse(
            VhostUserViolation.BadQueueIndex, $"{request}: queue index {index} is out of range, the device has {_vrings.Length} queues");
        return false;
    }

    private static Answer RefuseStarted(string request, VringState vring) => Answer.Refuse(
        VhostUserViolation.QueueStarted,
        $"{request}: queue {vring.Index} is started; only a stopped queue can be changed");

    private static bool SameRing(VhostUserVringAddress? current, in VhostUserVringAddress said) =>
        current is { } now
        && now.DescriptorTable == said.DescriptorTable
        && now.AvailableRing == said.AvailableRing
        && now.UsedRing == said.UsedRing;

    private string? Misaligned(in VhostUserVringAddress said)
    {
        (string second, string third, uint alignment) = IsPacked ? ("driver area", "device area", 4u) : ("available ring", "used ring", 2u);
        if (said.DescriptorTable.Value % 16 != 0)
            return $"the descriptor {(IsPacked ? "ring" : "table")} at {said.DescriptorTable} is not aligned to 16 bytes";
        if (said.AvailableRing.Value % alignment != 0)
            return $"the {second} at {said.AvailableRing} is not aligned to {alignment} bytes";
        return said.UsedRing.Value % 4 != 0 ? $"the {third} at {said.UsedRing} is not aligned to 4 bytes" : null;
    }
}
