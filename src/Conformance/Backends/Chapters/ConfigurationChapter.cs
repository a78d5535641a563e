using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>The configuration space, read and written.</summary>
internal static class ConfigurationChapter
{
    private const string Reading = "vhost-user: VHOST_USER_GET_CONFIG";
    private const string Writing = "vhost-user: VHOST_USER_SET_CONFIG";
    private const VirtioFeatures Writeback = (VirtioFeatures)(1UL << 11);

    private static readonly CaseNeeds _config = new() { Protocol = VhostUserProtocolFeatures.Config };
    private static readonly CaseNeeds _working = CaseNeeds.Working with { Protocol = VhostUserProtocolFeatures.Config };
    private static readonly CaseNeeds _block = _config with { Device = "blk" };
    private static readonly CaseNeeds _writeback = _block with { Features = Writeback };

    public static Chapter Cases { get; } = Build();

    private static Chapter Build()
    {
        Chapter chapter = new("configuration", Reading, _config)
        {
            { "whole", Must, "The whole configuration space can be read at once", static async peer => await WholeAsync(peer).ConfigureAwait(false) },
            { "least", Must, "The configuration space holds all fields that the device has with the features that it offers", LeastAsync, null, "virtio: Device Configuration Space" },
            { "twice", Must, "Reading twice gives the same bytes", TwiceAsync },
            { "next", Should, "The next front-end reads the same bytes", NextAsync },
            { "echo", Must, "The reply names the offset and size that were asked for", EchoAsync },
            { "halves", Must, "Two halves make the whole", static peer => PiecesAsync(peer, static size => (size + 1) / 2) },
            { "quarters", Must, "Four quarters make the whole", static peer => PiecesAsync(peer, static size => (size + 3) / 4) },
            { "bytes", Must, "Byte by byte it is the whole", static peer => PiecesAsync(peer, static _ => 1) },
            { "content-ignored", Must, "The contents of the request are ignored", ContentIgnoredAsync },
            { "before-features", Should, "The configuration space can be read before SET_FEATURES", BeforeFeaturesAsync },
            { "running", Must, "The configuration space can be read while rings run, and they go on", RunningAsync, _working },
            { "after-stop", Must, "The configuration space can be read after the rings were stopped", AfterStopAsync, _working },
            { "flags-migration", Should, "GET_CONFIG with the flag of live migration answers the same or is refused", static peer => FlagsAsync(peer, 1) },
            { "flags-unknown", Robustness, "B30: GET_CONFIG with flags that nobody knows is borne or refused", static peer => FlagsAsync(peer, uint.MaxValue) },
            { "b30-longer", Robustness, "B30: GET_CONFIG whose payload is longer than its size says is borne or refused", static peer => OddAsync(peer, 0, 4, 8, false) },
            { "b30-shorter", Robustness, "B30: GET_CONFIG whose payload is shorter than its size says is refused", static peer => OddAsync(peer, 0, 8, 4, true) },
            { "b30-nothing", Robustness, "B30: GET_CONFIG of size 0 is borne or refused", static peer => OddAsync(peer, 0, 0, 0, false) },
            { "set-same", Should, "SET_CONFIG with the bytes that are there is borne or refused, and changes nothing", SetSameAsync, null, Writing },
            { "set-read-only", Must, "SET_CONFIG of a field that is read-only changes nothing", SetReadOnlyAsync, _block, Writing },
            { "set-read-only-refused", Should, "SET_CONFIG of a field that is read-only is refused", SetReadOnlyRefusedAsync, _block, Writing },
            { "set-writeback", Must, "SET_CONFIG of the write cache is kept", SetWritebackAsync, _writeback, Writing },
            { "set-writeback-serves", Must, "Work is done whatever the write cache is set to", SetWritebackServesAsync, CaseNeeds.Working with { Device = "blk", Features = Writeback, Protocol = VhostUserProtocolFeatures.Config }, Writing },
            { "b30-set-nothing", Robustness, "B30: SET_CONFIG of size 0 is borne or refused", static peer => SetOddAsync(peer, 0, 0, 0, 0, false), null, Writing },
            { "b30-set-shorter", Robustness, "B30: SET_CONFIG whose payload is shorter than its size says is refused", static peer => SetOddAsync(peer, 0, 8, 0, 4, true), null, Writing },
            { "b30-set-longer", Robustness, "B30: SET_CONFIG whose payload is longer than its size says is borne or refused", static peer => SetOddAsync(peer, 0, 4, 0, 8, false), null, Writing },
            { "b30-set-flags", Robustness, "B30: SET_CONFIG with flags that nobody knows is borne or refused", static peer => SetOddAsync(peer, 0, 4, uint.MaxValue, 4, false), null, Writing },
            { "set-migration", Should, "SET_CONFIG of the bytes that are there, with the flag of live migration, is borne or refused, and changes nothing", SetMigrationAsync, null, Writing },
        };
        foreach (uint at in (uint[])[1, 2, 3, 4, 7, 8])
            chapter.Add($"offset-{at}", Must, $"Reading from offset {at} gives the bytes that are there", peer => OffsetAsync(peer, at));
        (string Id, string What, uint Offset, uint Size)[] beyond =
        [
            ("b30-offset-256", "beyond the 256 bytes of the configuration space", 256, 4), ("b30-end-257", "across the end of the 256 bytes", 250, 8), ("b30-offset-huge", "from offset 2^32-1", uint.MaxValue, 4),
            ("b30-offset-wraps", "whose offset and size wrap", uint.MaxValue - 3, 8), ("b30-size-257", "of 257 bytes", 0, 257), ("b30-size-huge", "of 2^32-1 bytes", 0, uint.MaxValue),
        ];
        foreach ((string id, string what, uint offset, uint size) in beyond)
        {
            chapter.Add(id, Robustness, $"B30: GET_CONFIG {what} is refused", peer => OddAsync(peer, offset, size, (int)Math.Min(size, 257), true));
            chapter.Add(id.Replace("b30-", "b30-set-", StringComparison.Ordinal), Robustness, $"B30: SET_CONFIG {what} is refused", peer => SetOddAsync(peer, offset, size, 0, (int)Math.Min(size, 257), true), null, Writing);
        }

        return chapter;
    }

    private static byte[] Request(uint offset, uint size, uint flags = 0, int length = -1, byte fill = 0)
    {
        byte[] payload = new byte[VhostUserConfig.HeaderSize + (length < 0 ? (int)size : length)];
        payload.AsSpan(VhostUserConfig.HeaderSize).Fill(fill);
        BitConverter.TryWriteBytes(payload, offset);
        BitConverter.TryWriteBytes(payload.AsSpan(4), size);
        BitConverter.TryWriteBytes(payload.AsSpan(8), flags);
        return payload;
    }

    /// <summary>The bytes from an offset on; null: the peer refused.</summary>
    private static async Task<byte[]?> TryReadAsync(BackendPeer peer, uint offset, uint size, byte fill = 0, uint flags = 0)
    {
        using ReceivedMessage reply = await peer.AskForAsync(VhostUserRequest.GetConfig, Request(offset, size, flags, -1, fill)).ConfigureAwait(false);
        if (reply.Payload.Length != VhostUserConfig.HeaderSize + (int)size)
        {
            Expect.That(reply.Payload.Length is 0 or VhostUserConfig.HeaderSize, "a reply of the size of the request, or without contents", $"{reply.Payload.Length} bytes");
            return null;
        }

        return reply.Payload[VhostUserConfig.HeaderSize..];
    }

    private static async Task<byte[]> ReadAsync(BackendPeer peer, uint offset, uint size, byte fill = 0) =>
        await TryReadAsync(peer, offset, size, fill).ConfigureAwait(false) ?? throw Expect.Failed($"{size} bytes of the configuration space from {offset} on", "a refusal");

    /// <summary>What is read from an offset on must be what was read before.</summary>
    private static async Task SameAsync(BackendPeer peer, byte[] before, uint offset = 0, byte fill = 0)
    {
        byte[] now = await ReadAsync(peer, offset, (uint)before.Length, fill).ConfigureAwait(false);
        Expect.Bytes(before, now, $"the configuration space from {offset} on");
    }

    /// <summary>As much as can be read from offset 0: how large the space is depends on the device and its features.</summary>
    private static async Task<byte[]> WholeAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        return await WholeNowAsync(peer).ConfigureAwait(false);
    }

    private static async Task<byte[]> WholeNowAsync(BackendPeer peer)
    {
        byte[]? most = await TryReadAsync(peer, 0, VhostUserConfig.MaxWindow).ConfigureAwait(false);
        for ((uint low, uint high) = (1, VhostUserConfig.MaxWindow); most is null || (low < high && most.Length < VhostUserConfig.MaxWindow);)
        {
            uint middle = (low + high) / 2;
            byte[]? read = await TryReadAsync(peer, 0, middle).ConfigureAwait(false);
            (low, high, most) = read is null ? (low, middle, most) : (middle + 1, high, read);
            if (high <= 1 && read is null)
                throw peer.Device.HasConfiguration ? Expect.Failed("a configuration space", "even one byte is refused") : Expect.Skipped("the device has no configuration space");
        }

        return most;
    }

    private static async Task LeastAsync(BackendPeer peer)
    {
        int least = peer.Device.LeastConfiguration(peer.Profile.Features);
        if (least == 0)
            throw Expect.Skipped("the device need not have any field");
        byte[] whole = await WholeAsync(peer).ConfigureAwait(false);
        Expect.That(whole.Length >= least, $"a configuration space of at least {least} bytes, where its last field ends", $"{whole.Length} bytes");
    }

    private static async Task TwiceAsync(BackendPeer peer)
    {
        byte[] first = await WholeAsync(peer).ConfigureAwait(false);
        await SameAsync(peer, first).ConfigureAwait(false);
    }

    private static async Task SetMigrationAsync(BackendPeer peer)
    {
        byte[] whole = await WholeAsync(peer).ConfigureAwait(false);
        byte[] payload = Request(0, (uint)whole.Length, (uint)VhostUserConfigFlags.Migration, whole.Length);
        whole.CopyTo(payload, VhostUserConfig.HeaderSize);
        await peer.ToleratedAsync(VhostUserRequest.SetConfig, payload).ConfigureAwait(false);
        if (!peer.Main.IsClosed)
            await SameAsync(peer, whole).ConfigureAwait(false);
    }

    private static async Task NextAsync(BackendPeer peer)
    {
        byte[] first = await WholeAsync(peer).ConfigureAwait(false);
        await peer.CloseAsync().ConfigureAwait(false);
        BackendPeer next = await peer.ConnectAnotherAsync().ConfigureAwait(false);
        await next.NegotiateAsync().ConfigureAwait(false);
        await SameAsync(next, first).ConfigureAwait(false);
    }

    private static async Task EchoAsync(BackendPeer peer)
    {
        byte[] whole = await WholeAsync(peer).ConfigureAwait(false);
        uint offset = (uint)whole.Length / 2;
        uint size = (uint)whole.Length - offset;
        using ReceivedMessage reply = await peer.AskForAsync(VhostUserRequest.GetConfig, Request(offset, size)).ConfigureAwait(false);
        Expect.Equal(VhostUserConfig.HeaderSize + (int)size, reply.Payload.Length, "the size of the reply");
        Expect.Equal(offset, BitConverter.ToUInt32(reply.Payload), "the offset");
        Expect.Equal(size, BitConverter.ToUInt32(reply.Payload, 4), "the size");
    }

    private static async Task PiecesAsync(BackendPeer peer, Func<int, int> pieceOf)
    {
        byte[] whole = await WholeAsync(peer).ConfigureAwait(false);
        int piece = pieceOf(whole.Length);
        List<byte> pieces = [];
        for (int at = 0; at < whole.Length; at += piece)
            pieces.AddRange(await ReadAsync(peer, (uint)at, (uint)Math.Min(piece, whole.Length - at)).ConfigureAwait(false));
        Expect.Bytes(whole, [.. pieces], "the configuration space");
    }

    private static async Task OffsetAsync(BackendPeer peer, uint at)
    {
        byte[] whole = await WholeAsync(peer).ConfigureAwait(false);
        if (at >= whole.Length)
            throw Expect.Skipped($"the configuration space has {whole.Length} bytes");
        await SameAsync(peer, whole[(int)at..Math.Min(whole.Length, (int)at + 8)], at).ConfigureAwait(false);
    }

    private static async Task ContentIgnoredAsync(BackendPeer peer)
    {
        byte[] whole = await WholeAsync(peer).ConfigureAwait(false);
        await SameAsync(peer, whole, 0, 0xff).ConfigureAwait(false);
    }

    private static async Task BeforeFeaturesAsync(BackendPeer peer)
    {
        await peer.SendAsync(VhostUserRequest.SetOwner).ConfigureAwait(false);
        await peer.AskU64Async(VhostUserRequest.GetFeatures).ConfigureAwait(false);
        ulong offered = await peer.AskU64Async(VhostUserRequest.GetProtocolFeatures).ConfigureAwait(false);
        await peer.SendAsync(VhostUserRequest.SetProtocolFeatures, BackendPeer.U64(offered & (ulong)VhostUserProtocolFeatures.Config)).ConfigureAwait(false);
        _ = await WholeNowAsync(peer).ConfigureAwait(false);
    }

    private static async Task RunningAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        byte[] first = await WholeNowAsync(peer).ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await SameAsync(peer, first).ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
    }

    private static async Task AfterStopAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        byte[] first = await WholeNowAsync(peer).ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await peer.StopAsync(ring).ConfigureAwait(false);
        await SameAsync(peer, first).ConfigureAwait(false);
    }

    private static async Task FlagsAsync(BackendPeer peer, uint flags)
    {
        byte[] whole = await WholeAsync(peer).ConfigureAwait(false);
        Answer answer = await peer.SayAsync(VhostUserRequest.GetConfig, Request(0, (uint)whole.Length, flags)).ConfigureAwait(false);
        bool same = answer.Kind == AnswerKind.Replied && answer.Payload.Length > VhostUserConfig.HeaderSize && answer.Payload.AsSpan(VhostUserConfig.HeaderSize).SequenceEqual(whole);
        if (!same)
            peer.Refused((uint)VhostUserRequest.GetConfig, answer);
    }

    private static async Task OddAsync(BackendPeer peer, uint offset, uint size, int length, bool refused)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        if (refused)
            await peer.RefusedAsync(VhostUserRequest.GetConfig, Request(offset, size, 0, length)).ConfigureAwait(false);
        else
            await peer.ToleratedAsync(VhostUserRequest.GetConfig, Request(offset, size, 0, length)).ConfigureAwait(false);
    }

    private static async Task SetSameAsync(BackendPeer peer)
    {
        byte[] whole = await WholeAsync(peer).ConfigureAwait(false);
        await peer.ToleratedAsync(VhostUserRequest.SetConfig, (byte[])[.. Request(0, (uint)whole.Length, 0, 0), .. whole]).ConfigureAwait(false);
        if (await peer.GoesOnAsync().ConfigureAwait(false))
            await SameAsync(peer, whole).ConfigureAwait(false);
    }

    private static async Task SetReadOnlyAsync(BackendPeer peer)
    {
        byte[] capacity = await CapacityAsync(peer).ConfigureAwait(false);
        await peer.ToleratedAsync(VhostUserRequest.SetConfig, Request(0, 8, 0, 8, 0x11)).ConfigureAwait(false);
        if (await peer.GoesOnAsync().ConfigureAwait(false))
        {
            await SameAsync(peer, capacity).ConfigureAwait(false);
            return;
        }

        BackendPeer next = await peer.ConnectAnotherAsync().ConfigureAwait(false);
        await next.NegotiateAsync().ConfigureAwait(false);
        await SameAsync(next, capacity).ConfigureAwait(false);
    }

    private static async Task SetReadOnlyRefusedAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        await peer.RefusedAsync(VhostUserRequest.SetConfig, Request(0, 8, 0, 8, 0x11)).ConfigureAwait(false);
    }

    private static async Task<byte[]> CapacityAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        return await ReadAsync(peer, 0, 8).ConfigureAwait(false);
    }

    private static async Task SetWritebackAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        foreach (byte value in (byte[])[0, 1, 0, 1])
        {
            await peer.AcceptedAsync(VhostUserRequest.SetConfig, Request(BlockModel.WritebackAt, 1, 0, 1, value)).ConfigureAwait(false);
            byte[] config = await ReadAsync(peer, 0, BlockModel.WritebackAt + 1).ConfigureAwait(false);
            Expect.Equal(value, config[BlockModel.WritebackAt], "the field 'writeback'");
        }
    }

    private static async Task SetWritebackServesAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        foreach (byte value in (byte[])[0, 1])
        {
            await peer.AcceptedAsync(VhostUserRequest.SetConfig, Request(BlockModel.WritebackAt, 1, 0, 1, value)).ConfigureAwait(false);
            await peer.WorkAsync(ring).ConfigureAwait(false);
        }
    }

    private static async Task SetOddAsync(BackendPeer peer, uint offset, uint size, uint flags, int length, bool refused)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        if (refused)
            await peer.RefusedAsync(VhostUserRequest.SetConfig, Request(offset, size, flags, length)).ConfigureAwait(false);
        else
            await peer.ToleratedAsync(VhostUserRequest.SetConfig, Request(offset, size, flags, length)).ConfigureAwait(false);
    }
}
