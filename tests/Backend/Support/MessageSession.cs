using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Backend.Tests;

/// <summary>How far a guest is when a message is said.</summary>
internal enum GuestStage
{
    /// <summary>Its first ring runs.</summary>
    Running,

    /// <summary>Its memory is shared, and no ring is started.</summary>
    AtRest,

    /// <summary>Its features are negotiated.</summary>
    NoMemory,
}

/// <summary>A front-end by hand that can say every message as it should be, to a back-end with everything there is; and a guest that notices whether it is still served.</summary>
internal sealed class MessageSession : IAsyncDisposable
{
    // GPA_ADDRESSES is no condition of any message, and would be one of what this guest says of its memory.
    private const VhostUserProtocolFeatures OnRequest = VhostUserProtocolFeatures.InbandNotifications | VhostUserProtocolFeatures.CrossEndian
        | VhostUserProtocolFeatures.HostNotifier | VhostUserProtocolFeatures.PageFault | VhostUserProtocolFeatures.ConfigureMemSlots;

    /// <summary>Enough for the memory of <see cref="TestGuest"/>.</summary>
    private const ulong LogSize = 12288;

    /// <summary>Two split rings of sixteen entries.</summary>
    private const ulong AreaSize = 640;

    private readonly TestGuest _guest = new();
    private readonly TestGuest _more = new(slot: 1);
    private readonly TestRing _ring;
    private readonly TestRing _second;
    private readonly EventNotifier _notifier = new();
    private readonly SharedMemory _log = SharedMemory.CreateSealed("log", LogSize);
    private readonly SharedMemory _area = SharedMemory.CreateSealed("in-flight", AreaSize);
    private readonly (SafeFileHandle Ours, SafeFileHandle Theirs) _socket = Libc.UnixSocketPair();
    private readonly (SafeFileHandle Reader, SafeFileHandle Writer) _pipe = Libc.Pipe();
    private RawIommu? _iommu;
    private VirtioFeatures _features;
    private VhostUserProtocolFeatures _protocol;
    private ulong _cryptoSession;
    private bool _hasMemory;
    private bool _runs;
    private byte _fill;

    private MessageSession(RawFrontend frontend)
    {
        Frontend = frontend;
        _ring = new TestRing(_guest, 0);
        _second = new TestRing(_guest, 1);
    }

    public RawFrontend Frontend { get; }

    /// <summary>A back-end that offers everything which a message depends on, but for what <paramref name="gate"/> has it withhold. An IOMMU and memory under way exclude each other.</summary>
    public static Task<HostileBench> ServeAsync(FrontendMessage message, MessageGate gate = default)
    {
        EverythingDevice device = new();
        bool translates = message.Features.HasFlag(VirtioFeatures.AccessPlatform);
        VhostUserBackendOptions options = RawIommu.Options with
        {
            AdditionalFeatures = translates ? VirtioFeatures.AccessPlatform : VirtioFeatures.None,
            AdditionalProtocolFeatures = translates ? OnRequest & ~VhostUserProtocolFeatures.PageFault : OnRequest,
            WithheldFeatures = gate.IsOffer ? gate.Features : VirtioFeatures.None,
            WithheldProtocolFeatures = gate.IsOffer ? gate.Protocol : VhostUserProtocolFeatures.None,
        };
        return HostileBench.StartAsync(device.Echo, options, device);
    }

    /// <summary>Connects and acknowledges everything that the message allows, but for what <paramref name="gate"/> withholds.</summary>
    public static async Task<MessageSession> StartAsync(HostileBench bench, FrontendMessage message, MessageGate gate = default, GuestStage stage = GuestStage.Running)
    {
        MessageSession session = new(await bench.ConnectAsync());
        await session.NegotiateAsync(message, gate);
        if (stage != GuestStage.NoMemory)
            await session.ShareMemoryAsync();
        if (stage == GuestStage.Running)
            await session.ServesAsync();
        return session;
    }

    /// <summary>When a message is in order.</summary>
    public static GuestStage StageOf(VhostUserRequest request) => request switch
    {
        VhostUserRequest.PostcopyAdvise or VhostUserRequest.PostcopyListen or VhostUserRequest.PostcopyEnd => GuestStage.NoMemory,
        VhostUserRequest.SetInflightFd or VhostUserRequest.SetDeviceStateFd or VhostUserRequest.CheckDeviceState => GuestStage.AtRest,
        VhostUserRequest.ResetOwner or VhostUserRequest.ResetDevice => GuestStage.AtRest,
        _ => GuestStage.Running,
    };

    /// <summary>Says what has to come before the message.</summary>
    public async Task PrepareAsync(VhostUserRequest request)
    {
        switch (request)
        {
            case VhostUserRequest.CloseCryptoSession:
                byte[] created = await Frontend.AskAsync(VhostUserRequest.CreateCryptoSession, Legal(VhostUserRequest.CreateCryptoSession).Payload);
                VhostUserCryptoSession.TryReadSessionId(created, out long id).Should().BeTrue();
                _cryptoSession = (ulong)id;
                break;
            case VhostUserRequest.PostcopyListen or VhostUserRequest.PostcopyEnd:
                await Frontend.SendAsync(VhostUserRequest.PostcopyAdvise);
                (await Frontend.ReceiveAsync()).Dispose();
                break;
            case VhostUserRequest.RemMemReg:
                await Frontend.AddMemoryAsync(_more);
                break;
            case VhostUserRequest.CheckDeviceState:
                await DeviceStateSteps.SaveAsync(Frontend);
                break;
            default:
                break;
        }
    }

    /// <summary>A message as it should be.</summary>
    public (byte[] Payload, SafeHandle[] Descriptors) Legal(VhostUserRequest request) => request switch
    {
        VhostUserRequest.SetFeatures => (RawFrontend.U64((ulong)_features), []),
        VhostUserRequest.SetProtocolFeatures => (RawFrontend.U64((ulong)_protocol), []),
        VhostUserRequest.SetMemTable => RawFrontend.TableOf(_guest),
        VhostUserRequest.AddMemReg => (RawFrontend.Bytes(_more.Single), [_more.Shared.Descriptor]),
        VhostUserRequest.RemMemReg => (RawFrontend.Bytes(_more.Single), []),
        VhostUserRequest.IotlbMsg => (RawFrontend.Bytes(RawIommu.Update(0x7000_0000_0000, 4096, _guest.UserStart)), []),
        VhostUserRequest.SetLogBase => (RawFrontend.Bytes(new VhostUserLog(LogSize, 0)), [_log.Descriptor]),
        VhostUserRequest.SetLogFd => ([], [_notifier.Descriptor]),
        VhostUserRequest.SetVringNum => (RawFrontend.State(1, TestRing.Size), []),
        VhostUserRequest.SetVringAddr => (RawFrontend.Bytes(_second.Address), []),
        VhostUserRequest.SetVringBase or VhostUserRequest.SetVringEndian => (RawFrontend.State(1, 0), []),
        VhostUserRequest.GetVringBase or VhostUserRequest.GetVringBaseSkipDrain => (RawFrontend.State(1, 0), []),
        VhostUserRequest.SetVringKick => (RawFrontend.Word(_ring), [_ring.Kick.Descriptor]),
        VhostUserRequest.SetVringCall => (RawFrontend.Word(_ring), [_ring.Call.Descriptor]),
        VhostUserRequest.SetVringErr => (RawFrontend.Word(_ring), [_ring.Error.Descriptor]),
        VhostUserRequest.SetVringEnable => (RawFrontend.State(0, 1), []),
        VhostUserRequest.VringKick => (RawFrontend.State(0, 0), []),
        VhostUserRequest.SendRarp => (RawFrontend.U64(0x0100_0000_0002), []),
        VhostUserRequest.NetSetMtu => (RawFrontend.U64(1500), []),
        VhostUserRequest.SetBackendReqFd or VhostUserRequest.GpuSetSocket => ([], [_socket.Theirs]),
        VhostUserRequest.GetConfig => (ConfigWindow(0, 8), []),
        VhostUserRequest.SetConfig => (ConfigWindow(32, 1), []),
        VhostUserRequest.CreateCryptoSession => (new byte[VhostUserCryptoSession.NarrowSize], []),
        VhostUserRequest.CloseCryptoSession => (RawFrontend.U64(_cryptoSession), []),
        VhostUserRequest.GetInflightFd => (RawFrontend.Bytes(new VhostUserInflight(0, 0, 2, TestRing.Size)), []),
        VhostUserRequest.SetInflightFd => (RawFrontend.Bytes(new VhostUserInflight(AreaSize, 0, 2, TestRing.Size)), [_area.Descriptor]),
        VhostUserRequest.SetStatus => (RawFrontend.U64(1), []),
        VhostUserRequest.GetSharedObject => (RawFrontend.Bytes(new VhostUserSharedObject(EverythingDevice.Object)), []),
        VhostUserRequest.SetDeviceStateFd => (DeviceStateSteps.Save, [_pipe.Writer]),
        _ => ([], []),
    };

    /// <summary>Says a message as it should be, and it is taken.</summary>
    public async Task SayAsync(FrontendMessage message)
    {
        (byte[] payload, SafeHandle[] descriptors) = Legal(message.Request);
        if (message.Answer is null)
        {
            await Frontend.AcceptedAsync(message.Request, payload, descriptors);
        }
        else
        {
            await Frontend.SendAsync(message.Request, payload, descriptors);
            await AnsweredAsync(message);
        }

        if (message.Request is VhostUserRequest.PostcopyAdvise or VhostUserRequest.PostcopyListen)
            await Frontend.AcceptedAsync(VhostUserRequest.PostcopyEnd);
    }

    /// <summary>The answer that a message has of its own.</summary>
    public async Task AnsweredAsync(FrontendMessage message)
    {
        using VhostUserMessage reply = await Frontend.ReceiveAsync();
        VhostUserHeader expected = new((uint)message.Request, (VhostUserHeaderFlags)5, (uint)message.Answer!.Value);
        if (reply.Header != expected || reply.DescriptorCount != message.AnswerDescriptors)
            Assert.Fail($"{reply.Header} came with {reply.DescriptorCount} descriptors; expected is {expected} with {message.AnswerDescriptors}");
    }

    /// <summary>The session answers, and the ring is served; it is started first where it does not run.</summary>
    public async Task ServesAsync()
    {
        await Frontend.BarrierAsync();
        if (!_runs)
            await RunAsync();
        await _ring.EchoAsync(++_fill);
    }

    public async ValueTask DisposeAsync()
    {
        await Frontend.DisposeAsync();
        if (_iommu is not null)
            await _iommu.DisposeAsync();
        foreach (IDisposable one in (IDisposable[])[_ring, _second, _guest, _more, _notifier, _log, _area, _socket.Ours, _socket.Theirs, _pipe.Reader, _pipe.Writer])
            one.Dispose();
    }

    private async Task NegotiateAsync(FrontendMessage message, MessageGate gate)
    {
        await Frontend.NegotiateAsync();
        VirtioFeatures unwanted = VirtioFeatures.RingPacked | (gate.Excludes ? message.Forbidden & ~gate.Features : message.Forbidden | gate.Features);
        _features = (VirtioFeatures)await Frontend.AskU64Async(VhostUserRequest.GetFeatures) & ~unwanted;
        // One that does not go without the other.
        VhostUserProtocolFeatures along = gate.Protocol == VhostUserProtocolFeatures.BackendReq ? VhostUserProtocolFeatures.InbandNotifications : VhostUserProtocolFeatures.None;
        _protocol = (VhostUserProtocolFeatures)await Frontend.AskU64Async(VhostUserRequest.GetProtocolFeatures) & ~(gate.Protocol | along);
        await Frontend.AcceptedAsync(VhostUserRequest.SetProtocolFeatures, RawFrontend.U64((ulong)_protocol));
        await Frontend.AcceptedAsync(VhostUserRequest.SetFeatures, RawFrontend.U64((ulong)_features));
    }

    private async Task ShareMemoryAsync()
    {
        await Frontend.SetMemoryTableAsync(_guest);
        _hasMemory = true;
    }

    private async Task RunAsync()
    {
        await Frontend.AcceptedAsync(VhostUserRequest.SetFeatures, RawFrontend.U64((ulong)_features));
        if (!_hasMemory)
            await ShareMemoryAsync();
        if (_features.HasFlag(VirtioFeatures.AccessPlatform))
        {
            _iommu ??= await RawIommu.OpenAsync(Frontend, _guest);
            await _iommu.MapAllAsync();
        }

        await Frontend.StartAsync(_ring, _ring.SubmittedIndex);
        _runs = true;
    }

    private static byte[] ConfigWindow(uint offset, int size)
    {
        byte[] payload = new byte[VhostUserConfig.EncodedSizeOf(size)];
        new VhostUserConfig(offset, (uint)size, VhostUserConfigFlags.Writable).Write(payload);
        return payload;
    }
}
