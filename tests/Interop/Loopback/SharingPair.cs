using Microsoft.Win32.SafeHandles;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Loopback;

/// <summary>Both halves in one process, with a device that shares what can be shared; its one ring is started and does nothing.</summary>
internal sealed class SharingPair : IAsyncDisposable
{
    private const VhostUserProtocolFeatures Protocol = VhostUserProtocolFeatures.SharedObject | VhostUserProtocolFeatures.BackendSendFd
        | VhostUserProtocolFeatures.Shmem | VhostUserProtocolFeatures.HostNotifier;

    private readonly GuestMemory _memory = GuestRam.Create(1 << 20, at: 0x100000);
    private readonly EventNotifier _kick = new();
    private readonly Task _serving;

    private SharingPair(VhostUserConnection connection, VhostUserProtocolFeatures additional)
    {
        Backend = new VhostUserBackend(Device, new VhostUserBackendOptions { AdditionalProtocolFeatures = VhostUserProtocolFeatures.HostNotifier | additional });
        _serving = Task.Run(() => Backend.ServeAsync(connection));
    }

    public SharingDevice Device { get; } = new();

    public VhostUserBackend Backend { get; }

    public VhostUserFrontend Frontend { get; private set; } = null!;

    public FrontendVring Ring { get; private set; } = null!;

    public static async Task<SharingPair> StartAsync(VhostUserFrontendOptions options, VhostUserProtocolFeatures additional = VhostUserProtocolFeatures.None)
    {
        (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
        SharingPair pair = new(back, additional);
        pair.Frontend = await VhostUserFrontend.StartAsync(front, options with { RequiredProtocolFeatures = Protocol | additional });
        await pair.Frontend.SetMemoryAsync(pair._memory);
        pair.Ring = await pair.Frontend.StartVringAsync(RingWith(pair._kick));
        return pair;
    }

    /// <summary>A ring in the megabyte of memory that begins at 0x100000.</summary>
    internal static VringSettings RingWith(EventNotifier kick) => new()
    {
        Index = 0,
        Size = 16,
        DescriptorTable = new GuestAddress(0x100000),
        AvailableRing = new GuestAddress(0x101000),
        UsedRing = new GuestAddress(0x102000),
        Kick = kick,
    };

    public async ValueTask DisposeAsync()
    {
        await Frontend.DisposeAsync();
        await _serving.InTime();
        await Backend.DisposeAsync();
        _kick.Dispose();
        _memory.Dispose();
        Device.Object.Dispose();
    }

    internal sealed class SharingDevice : ISharedObjectDevice, ISharedMemoryDevice
    {
        public Guid Id { get; } = Guid.NewGuid();

        public SharedMemory Object { get; } = SharedMemory.CreateSealed("object", 4096);

        public int QueueCount => 1;

        public VirtioFeatures Features => VirtioFeatures.Version1;

        public int ConfigLength => 4;

        public IReadOnlyList<ulong> SharedMemorySizes { get; } = [1 << 20];

        public SafeFileHandle? OpenSharedObject(Guid id) => id == Id ? Libc.Duplicate(Object.Descriptor) : null;

        public byte[]? Restored { get; private set; }

        public bool TryRestoreConfig(uint offset, ReadOnlySpan<byte> source)
        {
            Restored = source.ToArray();
            return true;
        }

        public bool TryReadConfig(uint offset, Span<byte> destination) => true;

        public void Process(DeviceVirtqueue queue)
        {
        }
    }
}
