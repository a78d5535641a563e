using Vhost.Protocol;

namespace Vhost.Conformance;

/// <content>What every front-end does: negotiate, share memory, start rings, have work done.</content>
internal sealed partial class BackendPeer
{
    /// <summary>How many entries rings have unless a case says otherwise.</summary>
    public const int UsualRingSize = 16;

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
        await NegotiateAsync(choice).ConfigureAwait(false);
        await ShareMemoryAsync().ConfigureAwait(false);
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

    /// <summary>With STATUS: the driver is ready, without which some back-ends start nothing.</summary>
    public async Task DriverReadyAsync()
    {
        const ulong ready = (ulong)(VirtioDeviceStatus.Acknowledge | VirtioDeviceStatus.Driver | VirtioDeviceStatus.FeaturesOk | VirtioDeviceStatus.DriverOk);
        if ((State.Protocol & VhostUserProtocolFeatures.Status) != 0)
            await SendAsync(VhostUserRequest.SetStatus, U64(ready)).ConfigureAwait(false);
    }

    /// <summary>Serves once if the device can be made to do something; else says what every front-end says.</summary>
    public async Task ServeOnceAsync(Negotiation? choice = null)
    {
        if (Device.CanWork)
        {
            await WorkAsync(await ServeAsync(choice).ConfigureAwait(false)).ConfigureAwait(false);
            return;
        }

        await NegotiateAsync(choice).ConfigureAwait(false);
        await ShareMemoryAsync().ConfigureAwait(false);
        await BarrierAsync().ConfigureAwait(false);
    }

    /// <summary>Writes down what a case negotiated in words of its own.</summary>
    public void NoteAgreed(VirtioFeatures features, VhostUserProtocolFeatures protocol) =>
        State = new(Profile.Features, features, Profile.Protocol, protocol);

    /// <summary>Has work done: offered, kicked, used, and right.</summary>
    public async Task WorkAsync(DriverRing ring, string awaited = "the device does its work")
    {
        Work work = Device.NewWork(Memory);
        uint id = ring.Offer(work.Chain);
        ring.Notify();
        await FinishAsync(ring, work, id, awaited).ConfigureAwait(false);
    }

    /// <summary>Waits until work that was offered is done, and right.</summary>
    public static async Task FinishAsync(DriverRing ring, Work work, uint id, string awaited)
    {
        UsedBuffer used = await ring.UsedAsync(awaited).ConfigureAwait(false);
        Expect.Equal(id, used.Id, "the id of the used chain");
        work.Check(used);
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
