using Vhost.Protocol;

namespace Vhost.Conformance;

/// <content>What every front-end does: negotiate, share memory, start rings, have work done.</content>
internal sealed partial class BackendPeer
{
    /// <summary>How many entries rings have unless a case says otherwise.</summary>
    public const int UsualRingSize = 16;

    // virtio, Device Initialization
    private static readonly VirtioDeviceStatus[] _driverSteps =
        [VirtioDeviceStatus.Acknowledge, VirtioDeviceStatus.Driver, VirtioDeviceStatus.FeaturesOk, VirtioDeviceStatus.DriverOk];

    private VirtioDeviceStatus _status;

    /// <summary>The words of a session up to SET_FEATURES, in QEMU's order. Acknowledged is what the case needs, and what is usual, where it is offered.</summary>
    public async Task NegotiateAsync(Negotiation? choice = null)
    {
        choice ??= Negotiation.Usual;
        await SendAsync(VhostUserRequest.SetOwner).ConfigureAwait(false);
        VirtioFeatures offered = (VirtioFeatures)await AskU64Async(VhostUserRequest.GetFeatures).ConfigureAwait(false);
        VirtioFeatures wanted = (choice.Features | _needs.Features) & ~choice.Without & ~VirtioFeatures.VhostUserProtocolFeatures;
        State = new(offered, wanted & offered, 0, 0);
        if (choice.ProtocolFeatures && (offered & VirtioFeatures.VhostUserProtocolFeatures) != 0)
            await NegotiateProtocolAsync((choice.Protocol | _needs.Protocol) & ~choice.WithoutProtocol).ConfigureAwait(false);
        await SendAsync(VhostUserRequest.SetFeatures, U64((ulong)State.Features)).ConfigureAwait(false);
    }

    /// <summary>Negotiates and shares memory: what comes before anything is said of rings.</summary>
    public async Task BeginAsync(Negotiation? choice = null)
    {
        await NegotiateAsync(choice).ConfigureAwait(false);
        await ShareMemoryAsync().ConfigureAwait(false);
    }

    /// <summary>The same, with all rings started that the device needs but the one on which work is done, which is returned and which the peer knows nothing of yet.</summary>
    public async Task<DriverRing> BeginRingsAsync(Negotiation? choice = null, int size = UsualRingSize)
    {
        await BeginAsync(choice).ConfigureAwait(false);
        return await StartOtherRingsAsync(size).ConfigureAwait(false);
    }

    /// <summary>Tells the peer where the memory of the case is (SET_MEM_TABLE).</summary>
    public Task ShareMemoryAsync() => AcceptedAsync(VhostUserRequest.SetMemTable, Memory.Table, Memory.Descriptors);

    /// <summary>Tells the peer of some regions of the case's memory, by their numbers.</summary>
    public Task ShareRegionsAsync(params int[] which) => AcceptedAsync(
        VhostUserRequest.SetMemTable, CaseMemory.TableOf([.. which.Select(i => Memory.Regions[i])]), [.. which.Select(i => Memory.Descriptors[i])]);

    /// <summary>Adds one region of the case's memory (ADD_MEM_REG).</summary>
    public Task AddRegionAsync(int which) =>
        AcceptedAsync(VhostUserRequest.AddMemReg, Bytes(new VhostUserSingleRegion(Memory.Regions[which])), Memory.Descriptors[which]);

    /// <summary>Takes one region of the case's memory away (REM_MEM_REG).</summary>
    public Task RemoveRegionAsync(int which) =>
        AcceptedAsync(VhostUserRequest.RemMemReg, Bytes(new VhostUserSingleRegion(Memory.Regions[which])));

    /// <summary>A ring of the negotiated format in the case's memory; the peer knows nothing of it yet.</summary>
    /// <param name="index">Which ring of the device.</param>
    /// <param name="size">Entries.</param>
    /// <param name="place">Which of the sixteen places for rings it takes; -1: that of its index.</param>
    public DriverRing NewRing(int index, int size = UsualRingSize, int place = -1) => (State.Features & VirtioFeatures.RingPacked) != 0
        ? NewPackedRing(index, size, place)
        : NewSplitRing(index, size, place);

    /// <inheritdoc cref="NewRing"/>
    public SplitDriverRing NewSplitRing(int index, int size = UsualRingSize, int place = -1) =>
        Fresh(new SplitDriverRing(new(Memory, index, size, PlaceOf(index, place)), _dialogue, Patience), 0);

    /// <inheritdoc cref="NewRing"/>
    public PackedDriverRing NewPackedRing(int index, int size = UsualRingSize, int place = -1) =>
        Fresh(new PackedDriverRing(new(Memory, index, size, PlaceOf(index, place)), _dialogue, Patience), PackedDriverRing.FirstBase);

    /// <summary>Everything that a ring needs before its kick descriptor: size, base, addresses, call.</summary>
    /// <param name="ring">The ring.</param>
    /// <param name="startBase">Null: the base at which it stands.</param>
    /// <param name="address">Null: the addresses at which it is.</param>
    public async Task DescribeAsync(DriverRing ring, uint? startBase = null, VhostUserVringAddress? address = null)
    {
        uint index = (uint)ring.Index;
        await SendAsync(VhostUserRequest.SetVringNum, RingState(index, (uint)ring.Size)).ConfigureAwait(false);
        await SendAsync(VhostUserRequest.SetVringBase, RingState(index, startBase ?? ring.Base)).ConfigureAwait(false);
        await SendAsync(VhostUserRequest.SetVringAddr, Bytes(address ?? ring.Address)).ConfigureAwait(false);
        await SendAsync(VhostUserRequest.SetVringCall, RingWord(ring.Index), ring.Call.Descriptor).ConfigureAwait(false);
    }

    /// <summary>Hands over the kick descriptor, which starts the ring.</summary>
    public Task SendKickAsync(DriverRing ring) => SendAsync(VhostUserRequest.SetVringKick, RingWord(ring.Index), ring.Kick.Descriptor);

    /// <summary>Enables or disables a ring. Without protocol features rings are enabled from the start, and nothing is said.</summary>
    public Task EnableAsync(DriverRing ring, bool enable = true) => (State.Features & VirtioFeatures.VhostUserProtocolFeatures) != 0
        ? SendAsync(VhostUserRequest.SetVringEnable, RingState((uint)ring.Index, enable ? 1u : 0u))
        : Task.CompletedTask;

    /// <summary>Describes, starts and enables a ring, and has nothing in it.</summary>
    public async Task StartAsync(DriverRing ring)
    {
        await DescribeAsync(ring).ConfigureAwait(false);
        await SendKickAsync(ring).ConfigureAwait(false);
        await EnableAsync(ring).ConfigureAwait(false);
    }

    /// <summary>Stops a ring (GET_VRING_BASE). Returns where the peer says it stands.</summary>
    public async Task<uint> StopAsync(DriverRing ring)
    {
        using ReceivedMessage reply = await AskForAsync(VhostUserRequest.GetVringBase, RingState((uint)ring.Index, 0)).ConfigureAwait(false);
        Expect.Equal((uint)ring.Index, reply.VringState.Index, "the ring that the reply to GET_VRING_BASE names");
        return reply.VringState.Num;
    }

    /// <summary>Negotiates, shares memory and starts all rings that the device needs. Returns the one on which work is done.</summary>
    public async Task<DriverRing> ServeAsync(Negotiation? choice = null, int size = UsualRingSize)
    {
        await BeginAsync(choice).ConfigureAwait(false);
        return await StartRingsAsync(size).ConfigureAwait(false);
    }

    /// <summary>Starts all rings that the device needs. Returns the one on which work is done.</summary>
    public async Task<DriverRing> StartRingsAsync(int size = UsualRingSize)
    {
        DriverRing work = await StartOtherRingsAsync(size).ConfigureAwait(false);
        await StartAsync(work).ConfigureAwait(false);
        await DriverReadyAsync().ConfigureAwait(false);
        return work;
    }

    /// <summary>Starts all rings that the device needs but the one on which work is done, which is returned and which the peer knows nothing of yet.</summary>
    public async Task<DriverRing> StartOtherRingsAsync(int size = UsualRingSize)
    {
        for (int index = 0; index < Device.Rings; index++)
        {
            if (index != Device.WorkRing)
                await StartAsync(NewRing(index, size)).ConfigureAwait(false);
        }

        return NewRing(Device.WorkRing, size);
    }

    /// <summary>Stops all rings that the device needs.</summary>
    public async Task StopAllAsync()
    {
        for (uint index = 0; index < Device.Rings; index++)
            (await AskForAsync(VhostUserRequest.GetVringBase, RingState(index, 0)).ConfigureAwait(false)).Dispose();
    }

    /// <summary>With STATUS: the driver becomes ready step by step, without which some back-ends start nothing. Steps that were taken before are not taken back.</summary>
    public async Task DriverReadyAsync()
    {
        if ((State.Protocol & VhostUserProtocolFeatures.Status) == 0)
            return;
        foreach (VirtioDeviceStatus step in _driverSteps)
        {
            if ((_status & step) == 0)
                await SendAsync(VhostUserRequest.SetStatus, U64((ulong)(_status |= step))).ConfigureAwait(false);
        }
    }

    /// <summary>Sets the device status, which must be carried out; 0 begins anew.</summary>
    public Task SetStatusAsync(VirtioDeviceStatus status)
    {
        _status = status;
        return AcceptedAsync(VhostUserRequest.SetStatus, U64((ulong)status));
    }

    /// <summary>Resets the device, which must be carried out; the driver begins anew.</summary>
    public Task ResetDeviceAsync()
    {
        _status = 0;
        return AcceptedAsync(VhostUserRequest.ResetDevice);
    }

    /// <summary>Serves once if the device can be made to do something; else says what every front-end says.</summary>
    public async Task ServeOnceAsync(Negotiation? choice = null)
    {
        if (Device.CanWork)
        {
            await WorkAsync(await ServeAsync(choice).ConfigureAwait(false)).ConfigureAwait(false);
            return;
        }

        await BeginAsync(choice).ConfigureAwait(false);
        await BarrierAsync().ConfigureAwait(false);
    }

    /// <summary>Writes down what a case negotiated in words of its own.</summary>
    public void NoteAgreed(VirtioFeatures features, VhostUserProtocolFeatures protocol) =>
        State = new(Profile.Features, features, Profile.Protocol, protocol);

    /// <summary>Has work done: offered, kicked, used, and right.</summary>
    public async Task WorkAsync(DriverRing ring, string awaited = "the device does its work")
    {
        Work work = Device.NewWork(Memory);
        await RingWork.KickAndFinishAsync(ring, work, ring.Offer(work.Chain), awaited).ConfigureAwait(false);
    }

    /// <summary>The device must use nothing for a while, and is still there then.</summary>
    public async Task IdleAsync(DriverRing ring, string awaited)
    {
        if (await ring.TryUsedAsync(Quiet).ConfigureAwait(false) is { } used)
            throw Expect.Failed(awaited, $"chain {used.Id} was used");
        await BarrierAsync().ConfigureAwait(false);
    }

    private ulong PlaceOf(int index, int place) => Memory.RingsAt + ((ulong)(place < 0 ? index : place) * CaseMemory.RingRoom);

    private T Fresh<T>(T ring, uint startBase)
        where T : DriverRing
    {
        ring.StartAt(startBase);
        return Own(ring);
    }

    private async Task NegotiateProtocolAsync(VhostUserProtocolFeatures wanted)
    {
        VhostUserProtocolFeatures offered = (VhostUserProtocolFeatures)await AskU64Async(VhostUserRequest.GetProtocolFeatures).ConfigureAwait(false);
        VhostUserProtocolFeatures agreed = wanted & offered;
        await SendAsync(VhostUserRequest.SetProtocolFeatures, U64((ulong)agreed)).ConfigureAwait(false);
        State = new(State.Offered, State.Features | VirtioFeatures.VhostUserProtocolFeatures, offered, agreed);
    }
}
