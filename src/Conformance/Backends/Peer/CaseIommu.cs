using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>
/// An IOMMU that answers what the back-end misses on its channel, from a task of its own. Every guest address of the case is mapped <see cref="Shift"/> further up unless a page was moved.
/// Threading: the members may be used while misses are answered.
/// </summary>
internal sealed class CaseIommu : IDisposable
{
    /// <summary>What is added to a guest address to get its I/O virtual address.</summary>
    public const ulong Shift = 0x40_0000_0000;

    private const ulong Page = 4096;

    private readonly BackendPeer _peer;
    private readonly Conversation _channel;
    private readonly CancellationTokenSource _end = new();
    private readonly Lock _gate = new();
    private readonly Dictionary<ulong, ulong> _moved = [];
    private readonly HashSet<ulong> _readOnly = [];
    private readonly List<VhostUserIotlb> _misses = [];
    private readonly List<VhostUserIotlb> _unanswered = [];
    private bool _answers;

    public CaseIommu(BackendPeer peer, Conversation channel, bool answers)
    {
        (_peer, _channel, _answers) = (peer, channel, answers);
        _ = ListenAsync();
    }

    /// <summary>What the back-end has missed so far.</summary>
    public IReadOnlyList<VhostUserIotlb> Misses
    {
        get
        {
            lock (_gate)
                return [.. _misses];
        }
    }

    /// <summary>What came on the channel that is no miss; null: nothing.</summary>
    public string? Unexpected { get; private set; }

    /// <summary>Lets a page lie somewhere else in the guest.</summary>
    public void Move(ulong ioAddress, ulong guestAddress)
    {
        lock (_gate)
            _moved[ioAddress / Page] = guestAddress;
    }

    /// <summary>Lets the device only read a page.</summary>
    public void Protect(ulong ioAddress)
    {
        lock (_gate)
            _readOnly.Add(ioAddress / Page);
    }

    /// <summary>Answers what was missed so far, and from now on everything.</summary>
    public async Task AnswerAsync()
    {
        VhostUserIotlb[] waiting;
        lock (_gate)
        {
            _answers = true;
            waiting = [.. _unanswered];
            _unanswered.Clear();
        }

        foreach (VhostUserIotlb miss in waiting)
            await UpdateAsync(miss).ConfigureAwait(false);
    }

    /// <summary>The translation of a whole range of guest addresses.</summary>
    public static VhostUserIotlb Whole(ulong guestAddress, ulong size, VhostUserIotlbPermission permission = VhostUserIotlbPermission.ReadWrite) =>
        new(new(guestAddress + Shift), size, new(guestAddress + CaseMemory.UserOffset), permission, VhostUserIotlbType.Update);

    /// <summary>The end of the translation of a range of guest addresses.</summary>
    public static VhostUserIotlb Without(ulong guestAddress, ulong size) =>
        new(new(guestAddress + Shift), size, new(0), VhostUserIotlbPermission.None, VhostUserIotlbType.Invalidate);

    public void Dispose()
    {
        _end.Cancel();
        _end.Dispose();
    }

    private async Task ListenAsync()
    {
        CancellationToken end = _end.Token;
        try
        {
            while (await _channel.Connection.ReceiveAsync(end).ConfigureAwait(false) is { } message)
            {
                using (message)
                    await TakeAsync(message.Header, message.Payload.ToArray()).ConfigureAwait(false);
            }
        }
        catch (Exception failure) when (failure is OperationCanceledException or VhostUserException or LinuxException or CaseEndedException or ObjectDisposedException)
        {
            // the case or the peer has ended the channel
        }
    }

    private async Task TakeAsync(VhostUserHeader header, byte[] payload)
    {
        if (header.Request != (uint)VhostUserBackendRequest.IotlbMsg || !VhostUserIotlb.TryRead(payload, out VhostUserIotlb miss) || miss.Type != VhostUserIotlbType.Miss)
        {
            Unexpected ??= $"a message with code {header.Request} and {payload.Length} bytes";
            return;
        }

        if ((header.Flags & ~VhostUserHeaderFlags.NeedReply) != VhostUserHeaderFlags.Version1)
            Unexpected ??= $"a miss with flags 0x{(uint)header.Flags:x}";
        _peer.Note($"the back-end misses 0x{miss.Address.Value:x} ({miss.Permission})");
        bool answers;
        lock (_gate)
        {
            _misses.Add(miss);
            answers = _answers;
            if (!answers)
                _unanswered.Add(miss);
        }

        if (answers)
            await UpdateAsync(miss).ConfigureAwait(false);
        if (header.NeedsReply)
            await _channel.SendAsync(header.Request, VhostUserHeaderFlags.Version1 | VhostUserHeaderFlags.Reply, BackendPeer.U64(0)).ConfigureAwait(false);
    }

    private Task UpdateAsync(VhostUserIotlb miss)
    {
        ulong page = miss.Address.Value / Page;
        ulong guest;
        bool readOnly;
        lock (_gate)
        {
            guest = _moved.GetValueOrDefault(page, unchecked((page * Page) - Shift));
            readOnly = _readOnly.Contains(page);
        }

        VhostUserIotlbPermission permission = readOnly ? VhostUserIotlbPermission.ReadOnly : VhostUserIotlbPermission.ReadWrite;
        VhostUserIotlb update = new(new(page * Page), Page, new(guest + CaseMemory.UserOffset), permission, VhostUserIotlbType.Update);
        return _peer.SendAsync(VhostUserRequest.IotlbMsg, BackendPeer.Bytes(update));
    }
}
