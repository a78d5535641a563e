using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>The disk behind a block device, as a driver sees it through one ring.</summary>
internal sealed class BlockDisk(BackendPeer peer, DriverRing ring)
{
    public const byte Ok = 0;
    public const byte IoError = 1;
    public const byte Unsupported = 2;
    public const byte Untouched = 0xEE;
    public const int SectorSize = BlockModel.SectorSize;

    private const uint ConfigSize = VirtioBlkConfig.ClassicSize;

    public BackendPeer Peer => peer;

    public DriverRing Ring => ring;

    public CaseMemory Memory => peer.Memory;

    /// <summary>How many bytes the device said that it wrote in the last request.</summary>
    public uint Written { get; private set; }

    public static async Task<BlockDisk> OpenAsync(BackendPeer peer, int size = 64) => new(peer, await peer.ServeAsync(null, size).ConfigureAwait(false));

    /// <summary>Random contents.</summary>
    public byte[] NewPattern(int sectors)
    {
        byte[] pattern = new byte[sectors * SectorSize];
        peer.Random.NextBytes(pattern);
        return pattern;
    }

    /// <summary>A buffer with contents that the device reads.</summary>
    public ChainBuffer Readable(params ReadOnlySpan<byte> contents)
    {
        ulong at = Memory.Allocate(contents.Length);
        Memory.WriteBytes(at, contents);
        return new(at, (uint)contents.Length, false);
    }

    /// <summary>A buffer that the device writes.</summary>
    public ChainBuffer Writable(int length) => new(Memory.Allocate(length), (uint)length, true);

    /// <summary>The header of a request.</summary>
    public static byte[] Header(uint type, ulong sector)
    {
        byte[] header = new byte[VirtioBlkRequestHeader.Size];
        new VirtioBlkRequestHeader((VirtioBlkRequestType)type, 0, sector).Write(header);
        return header;
    }

    /// <summary>Has a request done. Returns its status.</summary>
    public Task<byte> DoAsync(VirtioBlkRequestType type, ulong sector, params ChainBuffer[] data) => DoAsync((uint)type, sector, data);

    /// <inheritdoc cref="DoAsync(VirtioBlkRequestType, ulong, ChainBuffer[])"/>
    public Task<byte> DoAsync(uint type, ulong sector, params ChainBuffer[] data)
    {
        ChainBuffer status = Status();
        return FinishAsync(status.Address, [Readable(Header(type, sector)), .. data, status]);
    }

    /// <summary>Has a chain of the caller's framing served. Returns the status byte at an address.</summary>
    public async Task<byte> FinishAsync(ulong status, params ChainBuffer[] chain)
    {
        uint id = ring.Offer(chain);
        ring.Notify();
        UsedBuffer used = await ring.UsedAsync("the request is answered").ConfigureAwait(false);
        Expect.Equal(id, used.Id, "the id of the used chain");
        new Work(chain, static _ => { }).Done(used);
        Written = used.Length;
        return Memory.Read<byte>(status);
    }

    /// <summary>As <see cref="DoAsync(uint, ulong, ChainBuffer[])"/> for a request that breaks the rules. Null: it was not answered, which refuses it too; the ring is stopped then.</summary>
    public async Task<byte?> TryAsync(ulong status, params ChainBuffer[] chain)
    {
        await peer.WorkAsync(ring).ConfigureAwait(false);
        ring.Offer(chain);
        ring.Notify();
        if (await peer.ServedOrStoppedAsync(ring).ConfigureAwait(false) is not { } used)
        {
            peer.NoteRefusal("the request was not answered");
            return null;
        }

        new Work(chain, static _ => { }).Done(used);
        return Memory.Read<byte>(status);
    }

    public ChainBuffer Status()
    {
        ChainBuffer status = Writable(1);
        Memory.Write(status.Address, Untouched);
        return status;
    }

    public async Task WriteAsync(ulong sector, byte[] contents) =>
        Expect.Equal(Ok, await DoAsync(VirtioBlkRequestType.Out, sector, Readable(contents)).ConfigureAwait(false), "the status of a write");

    public async Task<byte[]> ReadAsync(ulong sector, int length)
    {
        ChainBuffer data = Writable(length);
        Expect.Equal(Ok, await DoAsync(VirtioBlkRequestType.In, sector, data).ConfigureAwait(false), "the status of a read");
        return Memory.ReadBytes(data.Address, length);
    }

    public async Task ExpectAsync(ulong sector, byte[] contents, string what)
    {
        byte[] came = await ReadAsync(sector, contents.Length).ConfigureAwait(false);
        Expect.Bytes(contents, came, what);
    }

    /// <summary>What the device says of itself (GET_CONFIG).</summary>
    public async Task<VirtioBlkConfig> ConfigAsync()
    {
        byte[] question = [.. BackendPeer.Bytes(new VhostUserConfig(0, ConfigSize, VhostUserConfigFlags.Writable)), .. new byte[ConfigSize]];
        using ReceivedMessage reply = await peer.AskForAsync(VhostUserRequest.GetConfig, question).ConfigureAwait(false);
        Expect.Equal(question.Length, reply.Payload.Length, "the size of the reply to GET_CONFIG");
        _ = VirtioBlkConfig.TryRead(reply.Payload.AsSpan(VhostUserConfig.HeaderSize), out VirtioBlkConfig config);
        return config;
    }
}
