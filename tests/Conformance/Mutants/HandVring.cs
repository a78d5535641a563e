using Vhost.Protocol;

namespace Vhost.Conformance.Tests.Mutants;

/// <summary>One ring as the front-end describes it: started or stopped, enabled or disabled. All of it under the session's gate.</summary>
internal sealed class HandVring(HandSession session, int index) : IDisposable
{
    private const uint FreshPackedBase = 0x8000_8000;

    private CancellationTokenSource? _pump;
    private EventNotifier? _kick;
    private HandRing? _ring;
    private bool _kickSeen;
    private bool _wasStarted;
    private bool _wasDisabled;

    public int Index => index;

    public uint Size { get; set; }

    public uint? Base { get; set; }

    public VhostUserVringAddress? Address { get; set; }

    public EventNotifier? Call { get; private set; }

    public EventNotifier? Error { get; private set; }

    public bool IsStarted { get; private set; }

    /// <summary>What SET_VRING_ENABLE said last.</summary>
    public bool IsOpened { get; private set; }

    private bool IsBroken { get; set; }

    private uint FreshBase => session.Has(VirtioFeatures.RingPacked) ? FreshPackedBase : 0;

    private bool IsEnabled
    {
        get
        {
            if (session.Is(Sin.ServesDisabledRing)) return true;
            if (session.Is(Sin.BeginsDisabledWithoutProtocolFeatures)) return IsOpened;
            return IsOpened || !session.Has(VirtioFeatures.VhostUserProtocolFeatures) || (session.Is(Sin.BeginsEnabled) && !_wasDisabled);
        }
    }

    private bool CanServe => IsStarted && IsEnabled && !IsBroken && !(session.Is(Sin.ServesFirstQueueOnly) && index > 0);

    /// <summary>The new one is signalled once while the ring runs: nothing is lost in the change.</summary>
    public void ReplaceCall(EventNotifier? call)
    {
        if (session.Is(Sin.KeepsOldCall) && IsStarted && Call is not null)
        {
            call?.Dispose();
            return;
        }

        if (call is null && session.Is(Sin.CallsDespiteNoDescriptor)) return;
        if (session.Is(Sin.NeverClosesCall) && Call is not null) session.Backend.Leak(Call.Descriptor);
        else Call?.Dispose();
        Call = call;
        if (IsStarted) call?.Signal();
    }

    public void ReplaceError(EventNotifier? error)
    {
        Error?.Dispose();
        Error = error;
    }

    public void Enable(bool enabled)
    {
        if (!enabled && session.Is(Sin.IgnoresDisable)) return;
        bool opens = enabled && !IsOpened;
        (IsOpened, _wasDisabled) = (enabled, !enabled);
        if (enabled && !IsStarted && session.Is(Sin.StartsWhenEnabled) && Address is not null) TryStart(kick: null);
        if (!opens) return;
        if (LooksOnEnable()) Serve();
        _kickSeen = false;
    }

    /// <summary>SET_VRING_KICK: starts the ring, or replaces the kick of one that runs.</summary>
    /// <param name="kick">Null: the ring is polled.</param>
    public bool TryStart(EventNotifier? kick)
    {
        if (IsStarted)
        {
            if (session.Is(Sin.KeepsOldKick)) kick?.Dispose();
            else Pump(kick);
            Serve();
            return true;
        }

        if (!IsComplete())
        {
            kick?.Dispose();
            return false;
        }

        uint position = Base ?? FreshBase;
        if (session.Is(Sin.RestartsAtZero) && _wasStarted) position = FreshBase;
        _ring = session.Has(VirtioFeatures.RingPacked) ? new HandPackedRing(session, this, position) : new HandSplitRing(session, this, position);
        (IsStarted, IsBroken, _kickSeen, _wasStarted) = (true, false, false, true);
        Pump(kick);
        if (!session.Is(Sin.NeedsKickAfterStart)) Serve();
        return true;
    }

    /// <summary>Stops the ring. Nothing of it is under way afterwards: requests are carried out under the gate.</summary>
    /// <returns>Where it goes on.</returns>
    public uint Stop()
    {
        uint position = _ring?.Position ?? Base ?? FreshBase;
        if (session.Is(Sin.StopDoesNotStop)) return position;
        _pump?.Cancel();
        _kick?.Dispose();
        (IsStarted, _ring, _kick, _pump) = (false, null, null, null);
        Base = position;
        return position;
    }

    /// <summary>Back to what it was before the front-end said anything.</summary>
    public void Forget()
    {
        Stop();
        (Size, Base, Address, IsOpened, _wasDisabled, _wasStarted) = (0, null, null, false, false, false);
    }

    /// <summary>Carries out what is there; at most twice a ring before others have their turn.</summary>
    public void Serve()
    {
        if (!CanServe) return;
        HandRing ring = _ring!;
        int most = session.Is(Sin.ServesOneRequestPerKick) ? 1 : 2 * (int)Size;
        int served = ServeSome(ring, most, out bool broken);
        if (ring.WantsCall() || (served == 0 && session.Is(Sin.CallsWithoutWork))) Call?.Signal();
        if (broken && !session.IsWedged) Break();
        else if (served == most && !session.Is(Sin.ServesOneRequestPerKick)) _ = session.LaterAsync(Serve);
    }

    public void Dispose()
    {
        Stop();
        _pump?.Cancel();
        _kick?.Dispose();
        Call?.Dispose();
        Error?.Dispose();
    }

    private bool LooksOnEnable()
    {
        if (session.Is(Sin.LooksOnEnableOnlyIfKicked)) return _kickSeen || _kick?.TryConsume() == true;
        return !session.Is(Sin.LosesKickBeforeEnable) || !(_kick?.TryConsume() == true || _kickSeen);
    }

    private int ServeSome(HandRing ring, int most, out bool broken)
    {
        int served = 0;
        broken = false;
        try
        {
            do
            {
                for (; served < most && ring.Take() is { } chain; served++) Carry(ring, chain);
            }
            while (served < most && ring.Rearm());
        }
        catch (HandMissException)
        {
            // Goes on when memory or translations change.
        }
        catch (HandFaultException)
        {
            broken = true;
        }

        return served;
    }

    private void Carry(HandRing ring, HandChain chain)
    {
        uint written = session.Backend.Disk.Serve(chain);
        if (session.Is(Sin.StopDoesNotWait)) _ = session.LaterAsync(() => Late(ring, chain, written), 100);
        else ring.Complete(chain, written);
    }

    private void Late(HandRing ring, HandChain chain, uint written)
    {
        ring.Complete(chain, written);
        if (ring.WantsCall()) Call?.Signal();
    }

    private void Break()
    {
        if (session.Is(Sin.BrokenRingWedgesAll)) session.IsWedged = true;
        IsBroken = true;
        if (!session.Is(Sin.TellsNoError)) Error?.Signal();
        session.DeviceFailed();
    }

    private bool IsComplete()
    {
        if (Address is not { } at || Size == 0 || session.Inflight?.Covers(index, Size) == false) return false;
        (ulong available, ulong used) = session.Has(VirtioFeatures.RingPacked) ? (4UL, 4UL) : (6 + (2UL * Size), 6 + (8UL * Size));
        return session.Space.HasRing(at.DescriptorTable.Value, 16UL * Size)
            && session.Space.HasRing(at.AvailableRing.Value, available)
            && session.Space.HasRing(at.UsedRing.Value, used);
    }

    private void Pump(EventNotifier? kick)
    {
        _pump?.Cancel();
        _kick?.Dispose();
        _kick = kick;
        _pump = CancellationTokenSource.CreateLinkedTokenSource(session.Stopping);
        if (kick is not null || !session.Is(Sin.NeverPolls)) _ = PumpAsync(kick, _pump.Token);
    }

    private async Task PumpAsync(EventNotifier? kick, CancellationToken stop)
    {
        await Task.Yield();
        try
        {
            while (!stop.IsCancellationRequested)
            {
                if (kick is null)
                {
                    await Task.Delay(1, stop); // nobody says when there is something in a polled ring
                }
                else
                {
                    await kick.WaitAsync(stop);
                    kick.TryConsume();
                }

                await session.LaterAsync(() => Kicked(kick, stop));
            }
        }
        catch (Exception e) when (e is OperationCanceledException or ObjectDisposedException or IOException)
        {
        }
    }

    private void Kicked(EventNotifier? kick, CancellationToken stop)
    {
        if (stop.IsCancellationRequested) return;
        if (!CanServe && kick is not null) _kickSeen = true;
        Serve();
    }
}
