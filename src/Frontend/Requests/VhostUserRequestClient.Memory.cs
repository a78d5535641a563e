using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Frontend;

public sealed partial class VhostUserRequestClient
{
    /// <summary>SET_MEM_TABLE (5): replaces all memory.</summary>
    /// <param name="regions">At most 8.</param>
    /// <param name="descriptors">One for each region, in the same order; borrowed.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when sent, or acknowledged where the policy asks for it.</returns>
    public ValueTask SetMemTableAsync(
        ReadOnlySpan<VhostUserMemoryRegion> regions, ReadOnlyMemory<SafeHandle> descriptors, CancellationToken cancellationToken = default) =>
        RequestAsync(VhostUserRequest.SetMemTable, EncodeTable(regions), descriptors, cancellationToken);

    /// <summary>SET_MEM_TABLE (5) in postcopy mode: the back-end answers with the table, its own addresses in it.</summary>
    /// <param name="regions">At most 8.</param>
    /// <param name="descriptors">One for each region, in the same order; borrowed.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>The regions of the reply.</returns>
    public ValueTask<VhostUserMemoryRegion[]> SetMemTableForPostcopyAsync(
        ReadOnlySpan<VhostUserMemoryRegion> regions, ReadOnlyMemory<SafeHandle> descriptors, CancellationToken cancellationToken = default) =>
        PostcopyTableAsync(EncodeTable(regions), descriptors, cancellationToken);

    /// <summary>
    /// SET_MEM_TABLE (5) or ADD_MEM_REG (37) with 8 bytes of zero, in postcopy mode: confirms that faults at the addresses of the answers before are served from now on. A back-end awaits the first after a table;
    /// after regions that are added singly QEMU sends the second, once. Not answered.
    /// </summary>
    /// <param name="request">SET_MEM_TABLE or ADD_MEM_REG.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when sent.</returns>
    public ValueTask ConfirmPostcopyAddressesAsync(VhostUserRequest request, CancellationToken cancellationToken = default)
    {
        byte[] payload = PayloadBytes.Of(new VhostUserU64(0));
        return _channel.SendAsync(VhostUserHeader.ForRequest(request, payload.Length), payload, default, cancellationToken);
    }

    private async ValueTask<VhostUserMemoryRegion[]> PostcopyTableAsync(
        byte[] payload, ReadOnlyMemory<SafeHandle> descriptors, CancellationToken cancellationToken)
    {
        VhostUserHeader header = VhostUserHeader.ForRequest(VhostUserRequest.SetMemTable, payload.Length);
        using VhostUserMessage reply = await _channel.CallAsync(header, payload, descriptors, cancellationToken).ConfigureAwait(false);
        return DecodeTable(reply);
    }

    private static byte[] EncodeTable(ReadOnlySpan<VhostUserMemoryRegion> regions)
    {
        byte[] payload = new byte[VhostUserMemoryTable.EncodedSizeOf(regions.Length)];
        VhostUserMemoryTable.Write(regions, payload);
        return payload;
    }

    private static VhostUserMemoryRegion[] DecodeTable(VhostUserMessage reply)
    {
        if (!VhostUserMemoryTable.TryRead(reply.Payload, out VhostUserMemoryTable table))
            throw Malformed(VhostUserRequest.SetMemTable, reply);
        VhostUserMemoryRegion[] regions = new VhostUserMemoryRegion[table.Count];
        for (int i = 0; i < regions.Length; i++)
            regions[i] = table[i];
        return regions;
    }

    /// <summary>ADD_MEM_REG (37): adds one region. Needs CONFIGURE_MEM_SLOTS.</summary>
    /// <param name="region">The region.</param>
    /// <param name="descriptor">Its memory; borrowed.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when sent, or acknowledged where the policy asks for it.</returns>
    public ValueTask AddMemRegAsync(VhostUserSingleRegion region, SafeHandle descriptor, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(descriptor);
        return RequestAsync(VhostUserRequest.AddMemReg, region, descriptor, cancellationToken);
    }

    /// <summary>ADD_MEM_REG (37) in postcopy mode: the back-end answers with the region, its own address in it.</summary>
    /// <param name="region">The region.</param>
    /// <param name="descriptor">Its memory; borrowed.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>The region of the reply.</returns>
    public async ValueTask<VhostUserSingleRegion> AddMemRegForPostcopyAsync(
        VhostUserSingleRegion region, SafeHandle descriptor, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(descriptor);
        byte[] payload = PayloadBytes.Of(region);
        VhostUserHeader header = VhostUserHeader.ForRequest(VhostUserRequest.AddMemReg, payload.Length);
        using VhostUserMessage reply = await _channel.CallAsync(header, payload, Descriptors(descriptor), cancellationToken).ConfigureAwait(false);
        return Decode<VhostUserSingleRegion>(VhostUserRequest.AddMemReg, reply);
    }

    /// <summary>REM_MEM_REG (38): removes the region with this guest address, size and user address. Needs CONFIGURE_MEM_SLOTS.</summary>
    /// <param name="region">The region; the offset is not compared.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when sent, or acknowledged where the policy asks for it.</returns>
    public ValueTask RemMemRegAsync(VhostUserSingleRegion region, CancellationToken cancellationToken = default) =>
        RequestAsync(VhostUserRequest.RemMemReg, region, descriptor: null, cancellationToken);

    /// <summary>GET_MAX_MEM_SLOTS (36): how many regions the back-end holds. Needs CONFIGURE_MEM_SLOTS.</summary>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>The number as it came.</returns>
    public ValueTask<ulong> GetMaxMemSlotsAsync(CancellationToken cancellationToken = default) =>
        QueryU64Async(VhostUserRequest.GetMaxMemSlots, cancellationToken);

    /// <summary>SET_LOG_BASE (6) by descriptor. Needs LOG_SHMFD. Peers answer with 0, 8 or 16 bytes; any of these is accepted.</summary>
    /// <param name="log">Size and offset of the log.</param>
    /// <param name="descriptor">Its memory; borrowed.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when the back-end has answered.</returns>
    public async ValueTask SetLogBaseAsync(VhostUserLog log, SafeHandle descriptor, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(descriptor);
        using VhostUserMessage reply = await QueryAsync(
            VhostUserRequest.SetLogBase, PayloadBytes.Of(log), descriptor, cancellationToken).ConfigureAwait(false);

        // libvhost-user answers with the first eight bytes of what it was sent, which are the size.
        if (reply.Payload.Length == sizeof(ulong) && Decode<VhostUserU64>(VhostUserRequest.SetLogBase, reply).Value is var value && value != log.MmapSize)
            ThrowIfRefused(VhostUserRequest.SetLogBase, value);
    }

    /// <summary>SET_LOG_BASE (6) by address: the form without LOG_SHMFD, of no use to a back-end in another process.</summary>
    /// <param name="address">The address of the log in the front-end.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when sent, or acknowledged where the policy asks for it.</returns>
    public ValueTask SetLogBaseAsync(ulong address, CancellationToken cancellationToken = default) =>
        RequestAsync(VhostUserRequest.SetLogBase, new VhostUserU64(address), descriptor: null, cancellationToken);

    /// <summary>SET_LOG_FD (7): an eventfd the back-end may signal after it dirtied the log.</summary>
    /// <param name="descriptor">Borrowed.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when sent, or acknowledged where the policy asks for it.</returns>
    public ValueTask SetLogFdAsync(SafeHandle descriptor, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(descriptor);
        return RequestAsync(VhostUserRequest.SetLogFd, default, Descriptors(descriptor), cancellationToken);
    }

    /// <summary>IOTLB_MSG (22): an update or an invalidation. Always asks for the answer, as every known front-end does.</summary>
    /// <param name="message">The translation.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when the back-end has applied it.</returns>
    public ValueTask IotlbMsgAsync(VhostUserIotlb message, CancellationToken cancellationToken = default) =>
        AcknowledgedAsync(VhostUserRequest.IotlbMsg, PayloadBytes.Of(message), default, cancellationToken);

    /// <summary>POSTCOPY_ADVISE (28). Needs PAGEFAULT.</summary>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>The back-end's userfaultfd; the caller's own.</returns>
    public async ValueTask<SafeFileHandle> PostcopyAdviseAsync(CancellationToken cancellationToken = default)
    {
        using VhostUserMessage reply = await QueryAsync(
            VhostUserRequest.PostcopyAdvise, default, descriptor: null, cancellationToken).ConfigureAwait(false);
        return TakeOptional(reply) ?? throw MissingDescriptor(VhostUserRequest.PostcopyAdvise, "a userfaultfd");
    }

    /// <summary>POSTCOPY_LISTEN (29). Needs PAGEFAULT. Always asks for the answer.</summary>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when acknowledged.</returns>
    public ValueTask PostcopyListenAsync(CancellationToken cancellationToken = default) =>
        AcknowledgedAsync(VhostUserRequest.PostcopyListen, default, default, cancellationToken);

    /// <summary>POSTCOPY_END (30). Needs PAGEFAULT. Always asks for the answer.</summary>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when acknowledged.</returns>
    public ValueTask PostcopyEndAsync(CancellationToken cancellationToken = default) =>
        AcknowledgedAsync(VhostUserRequest.PostcopyEnd, default, default, cancellationToken);

    private static SafeFileHandle? TakeOptional(VhostUserMessage reply) => reply.DescriptorCount == 0 ? null : reply.TakeDescriptor(0);

    private static VhostUserProtocolException MissingDescriptor(VhostUserRequest request, string what) =>
        new(VhostUserViolation.WrongDescriptorCount, $"{NameOf(request)}: the reply carries no descriptor, where {what} is due.")
        {
            RequestCode = (uint)request,
        };
}
