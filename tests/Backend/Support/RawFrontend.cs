using System.Runtime.InteropServices;
using Vhost.Protocol;

namespace Vhost.Backend.Tests;

/// <summary>A front-end by hand: sends any header with any payload and any descriptors, and says what it expects back.</summary>
internal sealed class RawFrontend(VhostUserConnection connection) : IAsyncDisposable
{
    public const VhostUserHeaderFlags Plain = VhostUserHeaderFlags.Version1;
    public const VhostUserHeaderFlags NeedReply = VhostUserHeaderFlags.Version1 | VhostUserHeaderFlags.NeedReply;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

    public VhostUserConnection Connection => connection;

    public static async Task<RawFrontend> ConnectAsync(string path)
    {
        // A full backlog is no failure here: tests connect faster than sessions end.
        VhostUserConnectOptions options = new() { RetryFor = Patience, RetryDelay = TimeSpan.FromMilliseconds(1) };
        return new(await VhostUserConnection.ConnectAsync(path, options));
    }

    public static byte[] U64(ulong value) => MemoryMarshal.AsBytes(new ReadOnlySpan<ulong>(in value)).ToArray();

    public static byte[] State(uint index, uint num) => Bytes(new VhostUserVringState(index, num));

    public static byte[] Bytes<T>(T payload)
        where T : struct, IVhostUserPayload<T>
    {
        byte[] bytes = new byte[payload.EncodedSize];
        payload.Write(bytes);
        return bytes;
    }

    public async Task SendAsync(uint request, VhostUserHeaderFlags flags, ReadOnlyMemory<byte> payload, params SafeHandle[] descriptors) =>
        await connection.SendAsync(new VhostUserHeader(request, flags, (uint)payload.Length), payload, descriptors).AsTask().WaitAsync(Patience);

    public Task SendAsync(VhostUserRequest request, ReadOnlyMemory<byte> payload = default, params SafeHandle[] descriptors) =>
        SendAsync((uint)request, Plain, payload, descriptors);

    public async Task<VhostUserMessage> ReceiveAsync() =>
        await connection.ReceiveAsync().AsTask().WaitAsync(Patience) ?? throw new EndOfStreamException("the back-end closed the connection");

    /// <summary>The reply to <paramref name="request"/>, with flags of exactly 0x5 and no descriptor.</summary>
    public async Task<byte[]> ReplyToAsync(uint request)
    {
        using VhostUserMessage reply = await ReceiveAsync();
        reply.Header.Request.Should().Be(request);
        ((uint)reply.Header.Flags).Should().Be(0x5);
        reply.DescriptorCount.Should().Be(0);
        return reply.Payload.ToArray();
    }

    public async Task<byte[]> AskAsync(VhostUserRequest request, ReadOnlyMemory<byte> payload = default)
    {
        await SendAsync(request, payload);
        return await ReplyToAsync((uint)request);
    }

    public async Task<ulong> AskU64Async(VhostUserRequest request, ReadOnlyMemory<byte> payload = default) =>
        BitConverter.ToUInt64(await AskAsync(request, payload));

    /// <summary>Sends with NEED_REPLY and returns the acknowledgement: 0 is yes.</summary>
    public async Task<ulong> AcknowledgementAsync(uint request, ReadOnlyMemory<byte> payload = default, params SafeHandle[] descriptors)
    {
        await SendAsync(request, NeedReply, payload, descriptors);
        byte[] reply = await ReplyToAsync(request);
        reply.Should().HaveCount(8);
        return BitConverter.ToUInt64(reply);
    }

    public async Task AcceptedAsync(VhostUserRequest request, ReadOnlyMemory<byte> payload = default, params SafeHandle[] descriptors) =>
        (await AcknowledgementAsync((uint)request, payload, descriptors)).Should().Be(0, "{0} should be accepted", request);

    public async Task RefusedAsync(VhostUserRequest request, ReadOnlyMemory<byte> payload = default, params SafeHandle[] descriptors) =>
        (await AcknowledgementAsync((uint)request, payload, descriptors)).Should().NotBe(0, "{0} should be refused", request);

    /// <summary>All messages before have been handled once this returns: the back-end handles one at a time.</summary>
    public Task BarrierAsync() => AskU64Async(VhostUserRequest.GetFeatures);

    /// <summary>The back-end ends the connection; whatever it still sends is ignored.</summary>
    public async Task ExpectClosedAsync()
    {
        try
        {
            while (await connection.ReceiveAsync().AsTask().WaitAsync(Patience) is { } message)
                message.Dispose();
        }
        catch (VhostUserException)
        {
            // Closed with bytes of ours unread: the kernel reports a reset instead of an end.
        }
        catch (LinuxException)
        {
            // The same, by errno.
        }
    }

    /// <summary>Either a negative acknowledgement (for GET_CONFIG: an empty reply), or the end of the connection.</summary>
    public async Task ExpectRefusedOrClosedAsync(VhostUserRequest request)
    {
        VhostUserMessage? reply;
        try
        {
            reply = await connection.ReceiveAsync().AsTask().WaitAsync(Patience);
        }
        catch (VhostUserException)
        {
            return;
        }

        using (reply)
        {
            if (reply is null)
                return;
            reply.Header.Request.Should().Be((uint)request);
            ((uint)reply.Header.Flags).Should().Be(0x5);
            if (reply.Payload.Length != 0)
                BitConverter.ToUInt64(reply.Payload).Should().NotBe(0);
        }
    }

    /// <summary>The first messages of a session: everything that is offered is acknowledged, the packed ring and an IOMMU only when asked for.</summary>
    public async Task NegotiateAsync(bool replyAck = true, bool protocolFeatures = true, bool packed = false, bool iommu = false)
    {
        await SendAsync(VhostUserRequest.SetOwner);
        ulong features = await AskU64Async(VhostUserRequest.GetFeatures);
        if (!packed)
            features &= ~(ulong)VirtioFeatures.RingPacked;
        if (!iommu)
            features &= ~(ulong)VirtioFeatures.AccessPlatform;
        if (protocolFeatures)
        {
            ulong offered = await AskU64Async(VhostUserRequest.GetProtocolFeatures);
            if (!replyAck)
                offered &= ~(ulong)VhostUserProtocolFeatures.ReplyAck;
            await SendAsync(VhostUserRequest.SetProtocolFeatures, U64(offered));
        }
        else
        {
            features &= ~(ulong)VirtioFeatures.VhostUserProtocolFeatures;
        }

        await SendAsync(VhostUserRequest.SetFeatures, U64(features));
    }

    public Task AddMemoryAsync(TestGuest guest) =>
        AcceptedAsync(VhostUserRequest.AddMemReg, Bytes(new VhostUserSingleRegion(guest.Region)), guest.Shared.Descriptor);

    public Task RemoveMemoryAsync(TestGuest guest) =>
        AcceptedAsync(VhostUserRequest.RemMemReg, Bytes(new VhostUserSingleRegion(guest.Region)));

    public Task SetMemoryTableAsync(params TestGuest[] guests)
    {
        (byte[] payload, SafeHandle[] descriptors) = TableOf(guests);
        return AcceptedAsync(VhostUserRequest.SetMemTable, payload, descriptors);
    }

    public static (byte[] Payload, SafeHandle[] Descriptors) TableOf(params TestGuest[] guests)
    {
        byte[] payload = new byte[VhostUserMemoryTable.EncodedSizeOf(guests.Length)];
        VhostUserMemoryTable.Write([.. guests.Select(guest => guest.Region)], payload);
        return (payload, [.. guests.Select(guest => (SafeHandle)guest.Shared.Descriptor)]);
    }

    /// <summary>Everything that a ring needs before its kick.</summary>
    public async Task DescribeAsync(TestRing ring, ushort @base = 0)
    {
        uint index = (uint)ring.Index;
        await SendAsync(VhostUserRequest.SetVringNum, State(index, TestRing.Size));
        await SendAsync(VhostUserRequest.SetVringBase, State(index, @base));
        await SendAsync(VhostUserRequest.SetVringAddr, Bytes(ring.Address));
        await SendAsync(VhostUserRequest.SetVringErr, Word(ring), ring.Error.Descriptor);
        await SendAsync(VhostUserRequest.SetVringCall, Word(ring), ring.Call.Descriptor);
    }

    public Task KickAsync(TestRing ring) => SendAsync(VhostUserRequest.SetVringKick, Word(ring), ring.Kick.Descriptor);

    public Task EnableAsync(TestRing ring, bool enable = true) =>
        SendAsync(VhostUserRequest.SetVringEnable, State((uint)ring.Index, enable ? 1u : 0u));

    public async Task StartAsync(TestRing ring, ushort @base = 0)
    {
        await DescribeAsync(ring, @base);
        await KickAsync(ring);
        await EnableAsync(ring);
    }

    public async Task<uint> StopAsync(TestRing ring) =>
        BitConverter.ToUInt32(await AskAsync(VhostUserRequest.GetVringBase, State((uint)ring.Index, 0)), 4);

    public static byte[] Word(TestRing ring, bool noDescriptor = false) => Bytes(VhostUserVringDescriptor.Create(ring.Index, noDescriptor));

    public ValueTask DisposeAsync() => connection.DisposeAsync();
}
