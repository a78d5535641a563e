using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>A message as an honest front-end would say it once memory is shared and no ring is started: what families of cases bend in one place each.</summary>
/// <param name="Payload">Its payload.</param>
/// <param name="Descriptors">What travels with it; the case owns them.</param>
internal readonly record struct HonestMessage(byte[] Payload, SafeHandle[] Descriptors)
{
    private const ulong LogSize = 4096;
    private const ulong UsualMtu = 1500;
    private const int SmallCryptoSession = 632;

    /// <summary>Says what comes before a message, and returns the message: negotiation and memory, but a postcopy is advised before there is memory.</summary>
    public static async Task<HonestMessage> BeforeAsync(BackendPeer peer, VhostUserRequest request, Negotiation? choice = null)
    {
        await peer.NegotiateAsync(choice).ConfigureAwait(false);
        if (request is not (VhostUserRequest.PostcopyAdvise or VhostUserRequest.PostcopyListen or VhostUserRequest.PostcopyEnd or VhostUserRequest.SetMemTable))
            await peer.ShareMemoryAsync().ConfigureAwait(false);
        if (request is VhostUserRequest.SetVringBase or VhostUserRequest.SetVringAddr)
            await peer.SayRingAsync(peer.NewRing(0), "NUM").ConfigureAwait(false);
        else if (request == VhostUserRequest.SetVringKick)
            await peer.DescribeAsync(peer.NewRing(0)).ConfigureAwait(false);
        return Of(peer, request);
    }

    public static HonestMessage Of(BackendPeer peer, VhostUserRequest request) => request switch
    {
        VhostUserRequest.SetFeatures => Word((ulong)peer.State.Features),
        VhostUserRequest.SetProtocolFeatures => Word((ulong)peer.State.Protocol),
        VhostUserRequest.SetMemTable => new(peer.Memory.Table, peer.Memory.Descriptors),
        VhostUserRequest.SetLogBase => new(BackendPeer.Bytes(new VhostUserLog(LogSize, 0)), [Memory(peer, "log", LogSize)]),
        VhostUserRequest.SetLogFd => new([], [Event(peer)]),
        VhostUserRequest.SetVringNum => new(BackendPeer.RingState(0, BackendPeer.UsualRingSize), []),
        VhostUserRequest.SetVringAddr => new(BackendPeer.Bytes(peer.NewRing(0).Address), []),
        VhostUserRequest.SetVringBase => new(BackendPeer.RingState(0, peer.NewRing(0).Base), []),
        VhostUserRequest.GetVringBase or VhostUserRequest.GetVringBaseSkipDrain or VhostUserRequest.VringKick => new(BackendPeer.RingState(0, 0), []),
        VhostUserRequest.SetVringEnable or VhostUserRequest.SetVringEndian => new(BackendPeer.RingState(0, 0), []),
        VhostUserRequest.SetVringKick or VhostUserRequest.SetVringCall or VhostUserRequest.SetVringErr => new(BackendPeer.RingWord(0), [Event(peer)]),
        VhostUserRequest.SendRarp => Word(0x0100_0000_0002),
        VhostUserRequest.NetSetMtu => Word(UsualMtu),
        VhostUserRequest.SetBackendReqFd or VhostUserRequest.GpuSetSocket => new([], [Socket(peer)]),
        VhostUserRequest.IotlbMsg => new(BackendPeer.Bytes(Translation), []),
        VhostUserRequest.GetConfig => Config(0, 0),
        VhostUserRequest.SetConfig => peer.Device.Name == "blk" ? Config(BlockModel.WritebackAt, 1) : Config(0, 0),
        VhostUserRequest.CreateCryptoSession => new(new byte[SmallCryptoSession], []),
        VhostUserRequest.CloseCryptoSession => Word(0),
        VhostUserRequest.GetInflightFd => new(BackendPeer.Bytes(new VhostUserInflight(0, 0, 1, BackendPeer.UsualRingSize)), []),
        VhostUserRequest.SetInflightFd => new(BackendPeer.Bytes(new VhostUserInflight(LogSize, 0, 1, BackendPeer.UsualRingSize)), [Memory(peer, "in-flight", LogSize)]),
        VhostUserRequest.AddMemReg => Region(peer, peer.UnsharedMemory()),
        VhostUserRequest.RemMemReg => new(BackendPeer.Bytes(new VhostUserSingleRegion(peer.Memory.Regions[0])), []),
        VhostUserRequest.SetStatus => Word((ulong)VirtioDeviceStatus.Acknowledge),
        VhostUserRequest.GetSharedObject => new(new byte[VhostUserSharedObject.Size], []),
        VhostUserRequest.SetDeviceStateFd => new(new byte[VhostUserDeviceState.Size], [Pipe(peer)]),
        _ => new([], []),
    };

    private static VhostUserIotlb Translation =>
        new(default, 4096, new UserAddress(CaseMemory.UserOffset), VhostUserIotlbPermission.ReadWrite, VhostUserIotlbType.Update);

    private static HonestMessage Word(ulong value) => new(BackendPeer.U64(value), []);

    private static HonestMessage Region(BackendPeer peer, CaseMemory memory) =>
        new(BackendPeer.Bytes(new VhostUserSingleRegion(memory.Regions[0])), memory.Descriptors);

    // One byte: no device has less.
    private static HonestMessage Config(uint offset, byte value)
    {
        byte[] payload = new byte[VhostUserConfig.HeaderSize + 1];
        new VhostUserConfig(offset, 1, default).Write(payload.AsSpan(0, VhostUserConfig.HeaderSize));
        payload[^1] = value;
        return new(payload, []);
    }

    private static SafeFileHandle Event(BackendPeer peer) => peer.Own(new EventNotifier()).Descriptor;

    private static SafeFileHandle Memory(BackendPeer peer, string name, ulong size) => peer.Own(SharedMemory.CreateSealed(name, size)).Descriptor;

    private static SafeFileHandle Socket(BackendPeer peer)
    {
        (SafeFileHandle ours, SafeFileHandle theirs) = Libc.UnixSocketPair();
        peer.Own(ours);
        return peer.Own(theirs);
    }

    private static SafeFileHandle Pipe(BackendPeer peer)
    {
        (SafeFileHandle reader, SafeFileHandle writer) = Libc.Pipe();
        peer.Own(reader);
        return peer.Own(writer);
    }
}
