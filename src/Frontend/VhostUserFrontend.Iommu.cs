using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Frontend;

// An IOMMU between the guest and the device. Translations go out on the main channel, one at a time with what is withdrawn, so that an answer never comes behind the withdrawal of what it says.
public sealed partial class VhostUserFrontend
{
    private readonly SemaphoreSlim _iotlbTurn = new(1, 1);
    private readonly SemaphoreSlim _answerTurn = new(1, 1);
    private readonly PendingAnswer _answer = new();
    private readonly HandlerFailures _missFailures;
    private MissQueue? _misses;

    /// <summary>Whether the device's addresses are those of an IOMMU: ACCESS_PLATFORM is acknowledged. Addresses of rings and buffers are then I/O virtual ones, and go out as they are.</summary>
    public bool UsesIommu => (AcknowledgedFeatures & VirtioFeatures.AccessPlatform) != 0;

    /// <summary>
    /// IOTLB_MSG: withdraws translations. When it completes, the device does not use the memory behind them any more, nor is a translation of the range under way that was looked up before. Any thread; not
    /// delayed by operations of the session that wait for the back-end's work, except for one reply that is awaited. Does nothing when ACCESS_PLATFORM is not acknowledged, or the back-end has ended the session
    /// (<see cref="HasBackendLetGo"/>).
    /// </summary>
    /// <param name="address">First I/O virtual address.</param>
    /// <param name="size">Bytes, at least 1; does not pass 2^64.</param>
    /// <param name="cancellationToken">Ends the wait alone: the translations are withdrawn all the same, and the device may use the memory until then.</param>
    /// <exception cref="ArgumentOutOfRangeException">The range is empty or passes 2^64.</exception>
    /// <exception cref="VhostUserRejectedException">The back-end refused.</exception>
    /// <exception cref="VhostUserException">The session has ended on this side, or the back-end did not answer in time, or has ended the session instead: it may still use the memory, until its process has ended.</exception>
    public async ValueTask InvalidateIotlbAsync(IoVirtualAddress address, ulong size, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfZero(size);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(size - 1, ulong.MaxValue - address.Value);
        if (!UsesIommu)
            return;
        Task withdrawing = WithdrawAsync(address, size);
        try
        {
            await withdrawing.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            // Nobody waits for how it ends.
            _ = withdrawing.ContinueWith(static ended => ended.Exception, CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted, TaskScheduler.Default);
            throw;
        }
    }

    private async Task WithdrawAsync(IoVirtualAddress address, ulong size)
    {
        await _iotlbTurn.WaitAsync().ConfigureAwait(false);
        try
        {
            _answer.Withdraw(address.Value, address.Value + (size - 1));
            await Requests.IotlbMsgAsync(new VhostUserIotlb(address, size, default, VhostUserIotlbPermission.None, VhostUserIotlbType.Invalidate)).ConfigureAwait(false);
        }
        catch (VhostUserException ended) when (ended is VhostUserDisconnectedException or VhostUserProtocolException)
        {
            // With the session goes what the back-end knew, if it was the back-end that ended it.
            await _completion.Task.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            if (!HasBackendLetGo)
                throw;
        }
        finally
        {
            _iotlbTurn.Release();
        }
    }

    /// <summary>Takes a miss whose acknowledgement the back-end does not await. False: it is to be answered as other requests are.</summary>
    internal async ValueTask<bool> TryAnswerLaterAsync(VhostUserIotlb said, CancellationToken cancellationToken)
    {
        if (_misses is not { } misses || said.Type != VhostUserIotlbType.Miss)
            return false;
        await misses.AddAsync(said, cancellationToken).ConfigureAwait(false);
        return true;
    }

    /// <summary>Null: nobody here answers.</summary>
    internal async ValueTask<bool?> TryAnswerIotlbAsync(VhostUserIotlb said, CancellationToken cancellationToken)
    {
        if (_options.Iommu is not { } iommu)
            return null;
        if (Problem(said) is { } problem)
            return IsDone(VhostUserBackendRequest.IotlbMsg, problem);
        if (said.Type == VhostUserIotlbType.AccessFail)
        {
            iommu.AccessFailed(this, said.Address, said.Permission);
            return true;
        }

        await _answerTurn.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            return IsDone(VhostUserBackendRequest.IotlbMsg, await AnswerMissAsync(iommu, said, cancellationToken).ConfigureAwait(false));
        }
        finally
        {
            _answerTurn.Release();
        }
    }

    /// <summary>What is wrong with a message of the back-end; null: nothing. The size says nothing in a miss, where DPDK leaves it 0.</summary>
    private static string? Problem(in VhostUserIotlb said)
    {
        if (said.Type is not (VhostUserIotlbType.Miss or VhostUserIotlbType.AccessFail))
            return Invariant($"type {(byte)said.Type} is neither {(byte)VhostUserIotlbType.Miss} (miss) nor {(byte)VhostUserIotlbType.AccessFail} (access failure)");
        if (said.Permission is VhostUserIotlbPermission.None or > VhostUserIotlbPermission.ReadWrite)
            return Invariant($"permission {(byte)said.Permission} is not 1 (read), 2 (write) or 3 (both)");
        return said.Size > 0 && said.Size - 1 > ulong.MaxValue - said.Address.Value ? Invariant($"size 0x{said.Size:x} at I/O virtual address {said.Address} passes 2^64") : null;
    }

    /// <summary>
    /// Why there is no translation; null: the back-end has it. The IOMMU is asked outside of the turn, since whoever withdraws may hold a lock of its own over that; what is withdrawn in between is found again
    /// under the turn.
    /// </summary>
    private async ValueTask<string?> AnswerMissAsync(IVirtioIommu iommu, VhostUserIotlb said, CancellationToken cancellationToken)
    {
        while (true)
        {
            _answer.Begin();
            if (iommu.Translate(said.Address, said.Permission) is not { } translation)
                return Invariant($"I/O virtual address {said.Address} is not mapped for permission {(byte)said.Permission}");
            if (!IsAnswer(translation, said))
                return Invariant($"the IOMMU's answer for {said.Address} does not contain it, or not with permission {(byte)said.Permission}: {translation}");
            if (Published(translation, said.Address) is not { } update)
                return Invariant($"I/O virtual address {said.Address} leads to no memory of the device, from {translation.GuestAddress} on");
            _answer.Narrow(update.Address.Value, update.Address.Value + (update.Size - 1));
            MarkUsed(VhostUserProtocolFeatures.BackendReq);
            await _iotlbTurn.WaitAsync(cancellationToken).ConfigureAwait(false);
            try
            {
                if (_answer.IsStale)
                    continue;
                await Requests.IotlbMsgAsync(update, cancellationToken).ConfigureAwait(false);
                return null;
            }
            catch (VhostUserRejectedException refusal)
            {
                return refusal.Message;
            }
            finally
            {
                _iotlbTurn.Release();
            }
        }
    }

    private static bool IsAnswer(in IommuTranslation translation, in VhostUserIotlb said) =>
        translation.Size > 0
        && said.Address.Value >= translation.Address.Value
        && said.Address.Value - translation.Address.Value < translation.Size
        && translation.Size - 1 <= ulong.MaxValue - translation.Address.Value
        && translation.Size - 1 <= ulong.MaxValue - translation.GuestAddress.Value
        && (translation.Permission & said.Permission) == said.Permission;

    /// <summary>The part of a translation around an address that lies in one region, in the words that the back-end knows the region by.</summary>
    private VhostUserIotlb? Published(in IommuTranslation translation, IoVirtualAddress address)
    {
        ulong before = address.Value - translation.Address.Value;
        GuestAddress wanted = new(translation.GuestAddress.Value + before);
        foreach (PublishedRegion region in _published.Regions)
        {
            VhostUserMemoryRegion wire = region.Wire;
            if (!region.TryTranslate(wanted, 1, out UserAddress user))
                continue;
            ulong inRegion = wanted.Value - wire.GuestAddress.Value;
            ulong first = before - Math.Min(before, inRegion);
            ulong size = Math.Min(translation.Size - before, wire.Size - inRegion) + (before - first);
            return new VhostUserIotlb(
                new IoVirtualAddress(translation.Address.Value + first), size, new UserAddress(user.Value - (before - first)), translation.Permission, VhostUserIotlbType.Update);
        }

        return null;
    }

    /// <summary>After each choice of features: the guest may have taken back that its addresses are translated.</summary>
    private void AttachIommu()
    {
        if (_options.Iommu is not { } iommu)
            return;
        if (!UsesIommu)
        {
            DetachIommu();
            return;
        }

        iommu.Attach(this);
        if (_completion.Task.IsCompleted)
            DetachIommuAtEnd();
    }

    /// <summary>A back-end that may still write to the guest's memory stays attached: nothing that is unmapped can be withdrawn from it, and whoever tries is told.</summary>
    private void DetachIommuAtEnd()
    {
        if (HasBackendLetGo)
            DetachIommu();
    }

    private void DetachIommu()
    {
        try
        {
            _options.Iommu?.Detach(this);
        }
        catch (Exception failure)
        {
            FrontendLog.HandlerFailed(_log, failure, nameof(IVirtioIommu.Detach), 1);
        }
    }

    private async ValueTask AnswerLaterAsync(VhostUserIotlb miss, CancellationToken cancellationToken)
    {
        try
        {
            await TryAnswerIotlbAsync(miss, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception failure) when (!cancellationToken.IsCancellationRequested)
        {
            _missFailures.Log(failure, MessageContracts.NameOf(VhostUserChannel.Backend, (uint)VhostUserBackendRequest.IotlbMsg));
        }
    }

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
