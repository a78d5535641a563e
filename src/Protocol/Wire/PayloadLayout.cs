namespace Vhost.Protocol;

/// <summary>The layouts that payloads have (vhost-user "Payload").</summary>
public enum PayloadLayout
{
    /// <summary>No payload.</summary>
    Empty,

    /// <summary>One 64-bit number, <see cref="VhostUserU64"/>.</summary>
    U64,

    /// <summary>A feature word.</summary>
    Features,

    /// <summary>A protocol feature word.</summary>
    ProtocolFeatures,

    /// <summary>A ring and a number, <see cref="VhostUserVringState"/>.</summary>
    VringState,

    /// <summary>A ring's addresses, <see cref="VhostUserVringAddress"/>.</summary>
    VringAddress,

    /// <summary>A ring and "no descriptor", <see cref="VhostUserVringDescriptor"/>.</summary>
    VringDescriptor,

    /// <summary>A memory table, <see cref="VhostUserMemoryTable"/>.</summary>
    MemoryTable,

    /// <summary>One memory region, <see cref="VhostUserSingleRegion"/>.</summary>
    SingleRegion,

    /// <summary>The dirty log, <see cref="VhostUserLog"/>, or one 64-bit number without LOG_SHMFD.</summary>
    Log,

    /// <summary>An IOTLB message, <see cref="VhostUserIotlb"/>.</summary>
    Iotlb,

    /// <summary>A window of configuration space, <see cref="VhostUserConfig"/>.</summary>
    Config,

    /// <summary>A ring's notifier area, <see cref="VhostUserVringArea"/>.</summary>
    VringArea,

    /// <summary>The in-flight area, <see cref="VhostUserInflight"/>.</summary>
    Inflight,

    /// <summary>An object's name, <see cref="VhostUserSharedObject"/>.</summary>
    SharedObject,

    /// <summary>Device state transfer, <see cref="VhostUserDeviceState"/>.</summary>
    DeviceState,

    /// <summary>The answer to it, <see cref="VhostUserDeviceStateReply"/>.</summary>
    DeviceStateReply,

    /// <summary>Shared memory sizes, <see cref="VhostUserShmemConfig"/>.</summary>
    ShmemConfig,

    /// <summary>A shared memory mapping, <see cref="VhostUserShmemMap"/>.</summary>
    ShmemMap,

    /// <summary>A crypto session, one of three layouts.</summary>
    CryptoSession,

    /// <summary>A cursor position on the GPU channel.</summary>
    GpuCursorPosition,

    /// <summary>A cursor image on the GPU channel.</summary>
    GpuCursorImage,

    /// <summary>A scanout on the GPU channel.</summary>
    GpuScanout,

    /// <summary>A rectangle, possibly with pixels, on the GPU channel.</summary>
    GpuUpdate,

    /// <summary>A dma-buf scanout on the GPU channel.</summary>
    GpuDmabufScanout,

    /// <summary>A scanout number on the GPU channel.</summary>
    GpuEdidRequest,

    /// <summary>Bytes that another specification lays out.</summary>
    Opaque,
}
