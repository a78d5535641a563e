using System.Runtime.InteropServices;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Conformance.Tests.Mutants;

/// <summary>A front-end that says one message after the other, and writes a split ring word by word.</summary>
internal sealed class HandDialogue : IAsyncDisposable
{
    public const VirtioFeatures Plain = VirtioFeatures.Version1 | VirtioFeatures.VhostUserProtocolFeatures;
    public const int RingSize = 8;
    public const ulong HeaderAt = 0x8000;
    public const ulong StatusAt = 0x9000;

    /// <summary>A buffer of two sectors that lies across the two regions.</summary>
    public const ulong DataAt = 0x10_0000 - 512;

    private HandDialogue(VhostUserConnection connection) => Connection = connection;

    public VhostUserConnection Connection { get; }

    public GuestMemory Ram { get; } = GuestRam.Create((0UL, 0x10_0000UL), (0x10_0000UL, 0x10_0000UL));

    public EventNotifier Kick { get; } = new();

    public EventNotifier Call { get; } = new();

    public EventNotifier Error { get; } = new();

    public RawSplitRing Ring { get; private set; } = null!;

    /// <summary>Negotiates, and shares the memory.</summary>
    public static async Task<HandDialogue> BeginAsync(HandBackend backend, VirtioFeatures features = Plain)
    {
        HandDialogue dialogue = new(await VhostUserConnection.ConnectAsync(backend.SocketPath));
        dialogue.Ring = new RawSplitRing(dialogue.Ram, 0x1000, RingSize);
        ulong offered = await dialogue.ValueAsync(VhostUserRequest.GetFeatures);
        ((VirtioFeatures)offered & features).Should().Be(features);
        ulong protocol = await dialogue.ValueAsync(VhostUserRequest.GetProtocolFeatures);
        await dialogue.TellAsync(VhostUserRequest.SetProtocolFeatures, new VhostUserU64(protocol));
        (await dialogue.SayAsync(VhostUserRequest.SetOwner, [])).Should().Be(0);
        (await dialogue.SayAsync(VhostUserRequest.SetFeatures, new VhostUserU64((ulong)features))).Should().Be(0);
        (await dialogue.ShareAsync()).Should().Be(0);
        return dialogue;
    }

    public Task<ulong> ShareAsync()
    {
        GuestMemoryRegion[] regions = [.. Ram.Regions];
        byte[] table = new byte[VhostUserMemoryTable.EncodedSizeOf(regions.Length)];
        VhostUserMemoryTable.Write([.. regions.Select(Described)], table);
        return SayAsync(VhostUserRequest.SetMemTable, table, [.. regions.Select(static r => (SafeHandle)r.Memory.Descriptor)]);
    }

    public static VhostUserMemoryRegion Described(GuestMemoryRegion region) => new(region.GuestAddress, region.Size, region.UserAddress, 0);

    /// <summary>Starts ring 0.</summary>
    public async Task StartAsync(uint position = 0, bool enabled = true, uint flags = 0)
    {
        (await SayAsync(VhostUserRequest.SetVringNum, new VhostUserVringState(0, RingSize))).Should().Be(0);
        (await SayAsync(VhostUserRequest.SetVringBase, new VhostUserVringState(0, position))).Should().Be(0);
        (await SayAsync(VhostUserRequest.SetVringAddr, Address(flags))).Should().Be(0);
        (await SayAsync(VhostUserRequest.SetVringCall, new VhostUserVringDescriptor(0), Call.Descriptor)).Should().Be(0);
        (await SayAsync(VhostUserRequest.SetVringErr, new VhostUserVringDescriptor(0), Error.Descriptor)).Should().Be(0);
        (await SayAsync(VhostUserRequest.SetVringKick, new VhostUserVringDescriptor(0), Kick.Descriptor)).Should().Be(0);
        if (enabled) (await SayAsync(VhostUserRequest.SetVringEnable, new VhostUserVringState(0, 1))).Should().Be(0);
    }

    public VhostUserVringAddress Address(uint flags = 0) => new(
        0, flags, User(Ring.DescriptorTable), User(Ring.UsedRing), User(Ring.AvailableRing), Ring.UsedRing.Value);

    /// <summary>Makes a request of three descriptors available: header, data, status.</summary>
    public void Offer(VirtioBlkRequestType type, ulong sector, ushort head = 0)
    {
        byte[] header = new byte[VirtioBlkRequestHeader.Size];
        new VirtioBlkRequestHeader(type, 0, sector).Write(header);
        for (int i = 0; i < header.Length; i++) Ring.Put(HeaderAt + (ulong)i, header[i]);
        Ring.Put(StatusAt, (byte)0xff);
        Ring.Descriptor(head, HeaderAt, VirtioBlkRequestHeader.Size, RawSplitRing.Next, (ushort)(head + 1));
        Ring.Descriptor(head + 1, DataAt, 1024, (ushort)(RawSplitRing.Next | (type == VirtioBlkRequestType.Out ? 0 : RawSplitRing.Write)), (ushort)(head + 2));
        Ring.Descriptor(head + 2, StatusAt, 1, RawSplitRing.Write);
        Ring.Offer(head);
    }

    public void Fill(byte value)
    {
        for (ulong i = 0; i < 1024; i++) Ring.Put(DataAt + i, value);
    }

    /// <summary>Kicks, and waits until as many requests were given back.</summary>
    public async Task UsedAsync(ushort index, bool kick = true)
    {
        if (kick) Kick.Signal();
        await Eventually.TrueAsync(() => Ring.UsedIndex == index);
    }

    public async Task<VhostUserVringState> StopAsync(uint index = 0)
    {
        using VhostUserMessage reply = await AskAsync(VhostUserRequest.GetVringBase, new VhostUserVringState(index, 0));
        VhostUserVringState.TryRead(reply.Payload, out VhostUserVringState state).Should().BeTrue();
        return state;
    }

    public async Task<ulong> ValueAsync(VhostUserRequest request)
    {
        using VhostUserMessage reply = await AskAsync(request, []);
        return Value(reply);
    }

    /// <summary>With NEED_REPLY; the acknowledgement.</summary>
    public Task<ulong> SayAsync<T>(VhostUserRequest request, T payload, params SafeHandle[] descriptors)
        where T : struct, IVhostUserPayload<T> => SayAsync(request, Bytes(payload), descriptors);

    public async Task<ulong> SayAsync(VhostUserRequest request, byte[] payload, params SafeHandle[] descriptors)
    {
        await Connection.SendAsync(VhostUserHeader.ForRequest(request, payload.Length, needReply: true), payload, descriptors);
        using VhostUserMessage reply = await ReplyAsync(request);
        return Value(reply);
    }

    public async Task TellAsync<T>(VhostUserRequest request, T payload)
        where T : struct, IVhostUserPayload<T> =>
        await Connection.SendAsync(VhostUserHeader.ForRequest(request, payload.EncodedSize), Bytes(payload));

    public Task<VhostUserMessage> AskAsync<T>(VhostUserRequest request, T payload, params SafeHandle[] descriptors)
        where T : struct, IVhostUserPayload<T> => AskAsync(request, Bytes(payload), descriptors);

    public async Task<VhostUserMessage> AskAsync(VhostUserRequest request, byte[] payload, params SafeHandle[] descriptors)
    {
        await Connection.SendAsync(VhostUserHeader.ForRequest(request, payload.Length), payload, descriptors);
        return await ReplyAsync(request);
    }

    public static byte[] Bytes<T>(T payload)
        where T : struct, IVhostUserPayload<T>
    {
        byte[] bytes = new byte[payload.EncodedSize];
        payload.Write(bytes);
        return bytes;
    }

    public async ValueTask DisposeAsync()
    {
        await Connection.DisposeAsync();
        Ring.Dispose();
        Ram.Dispose();
        Kick.Dispose();
        Call.Dispose();
        Error.Dispose();
    }

    private static UserAddress User(GuestAddress address) => new(address.Value + GuestRam.UserOffset);

    private static ulong Value(VhostUserMessage reply)
    {
        VhostUserU64.TryRead(reply.Payload, out VhostUserU64 value).Should().BeTrue();
        return value.Value;
    }

    private async Task<VhostUserMessage> ReplyAsync(VhostUserRequest request)
    {
        VhostUserMessage? reply = await Connection.ReceiveAsync().InTime();
        reply.Should().NotBeNull($"{request} is answered");
        reply!.Header.Should().Be(VhostUserHeader.ForRequest(request, 0).AsReply(reply.Payload.Length));
        return reply;
    }
}
