namespace Vhost.Protocol;

/// <summary>Requests of the front-end (vhost-user "Front-end message types"). The enumeration is open: a peer may send any number.</summary>
public enum VhostUserRequest : uint
{
    /// <summary>GET_FEATURES reads the feature bits the back-end offers.</summary>
    GetFeatures = 1,

    /// <summary>SET_FEATURES acknowledges feature bits.</summary>
    SetFeatures = 2,

    /// <summary>SET_OWNER marks the sender as the owner of the session.</summary>
    SetOwner = 3,

    /// <summary>RESET_OWNER is deprecated; a back-end may ignore it or disable all rings.</summary>
    ResetOwner = 4,

    /// <summary>SET_MEM_TABLE replaces the whole memory table, one descriptor a region.</summary>
    SetMemTable = 5,

    /// <summary>SET_LOG_BASE hands over the dirty log.</summary>
    SetLogBase = 6,

    /// <summary>SET_LOG_FD hands over the descriptor that is signalled when the log changes.</summary>
    SetLogFd = 7,

    /// <summary>SET_VRING_NUM sets the size of a ring.</summary>
    SetVringNum = 8,

    /// <summary>SET_VRING_ADDR sets the three addresses of a ring.</summary>
    SetVringAddr = 9,

    /// <summary>SET_VRING_BASE sets the next available index of a ring.</summary>
    SetVringBase = 10,

    /// <summary>GET_VRING_BASE stops a ring and reads the index it stopped at.</summary>
    GetVringBase = 11,

    /// <summary>SET_VRING_KICK hands over the kick descriptor and starts the ring.</summary>
    SetVringKick = 12,

    /// <summary>SET_VRING_CALL hands over the call descriptor.</summary>
    SetVringCall = 13,

    /// <summary>SET_VRING_ERR hands over the error descriptor.</summary>
    SetVringErr = 14,

    /// <summary>GET_PROTOCOL_FEATURES reads the protocol feature bits the back-end offers.</summary>
    GetProtocolFeatures = 15,

    /// <summary>SET_PROTOCOL_FEATURES acknowledges protocol feature bits.</summary>
    SetProtocolFeatures = 16,

    /// <summary>GET_QUEUE_NUM reads the number of queues the back-end supports.</summary>
    GetQueueNum = 17,

    /// <summary>SET_VRING_ENABLE enables or disables a ring.</summary>
    SetVringEnable = 18,

    /// <summary>SEND_RARP asks for a RARP broadcast after migration.</summary>
    SendRarp = 19,

    /// <summary>NET_SET_MTU sets the MTU of a network device.</summary>
    NetSetMtu = 20,

    /// <summary>SET_BACKEND_REQ_FD hands over the socket of the back-end channel.</summary>
    SetBackendReqFd = 21,

    /// <summary>IOTLB_MSG updates or invalidates IOTLB entries.</summary>
    IotlbMsg = 22,

    /// <summary>SET_VRING_ENDIAN sets the byte order of a legacy ring.</summary>
    SetVringEndian = 23,

    /// <summary>GET_CONFIG reads the device configuration space.</summary>
    GetConfig = 24,

    /// <summary>SET_CONFIG writes the device configuration space.</summary>
    SetConfig = 25,

    /// <summary>CREATE_CRYPTO_SESSION opens a crypto session.</summary>
    CreateCryptoSession = 26,

    /// <summary>CLOSE_CRYPTO_SESSION closes a crypto session.</summary>
    CloseCryptoSession = 27,

    /// <summary>POSTCOPY_ADVISE announces postcopy; the reply carries a userfaultfd.</summary>
    PostcopyAdvise = 28,

    /// <summary>POSTCOPY_LISTEN switches to postcopy.</summary>
    PostcopyListen = 29,

    /// <summary>POSTCOPY_END ends postcopy.</summary>
    PostcopyEnd = 30,

    /// <summary>GET_INFLIGHT_FD asks the back-end to allocate the in-flight area.</summary>
    GetInflightFd = 31,

    /// <summary>SET_INFLIGHT_FD gives the in-flight area back.</summary>
    SetInflightFd = 32,

    /// <summary>GPU_SET_SOCKET hands over the socket of the GPU channel.</summary>
    GpuSetSocket = 33,

    /// <summary>RESET_DEVICE resets the device and disables its rings.</summary>
    ResetDevice = 34,

    /// <summary>VRING_KICK kicks a ring in band.</summary>
    VringKick = 35,

    /// <summary>GET_MAX_MEM_SLOTS reads the number of memory slots the back-end supports.</summary>
    GetMaxMemSlots = 36,

    /// <summary>ADD_MEM_REG adds one memory region.</summary>
    AddMemReg = 37,

    /// <summary>REM_MEM_REG removes one memory region.</summary>
    RemMemReg = 38,

    /// <summary>SET_STATUS writes the virtio device status.</summary>
    SetStatus = 39,

    /// <summary>GET_STATUS reads the virtio device status.</summary>
    GetStatus = 40,

    /// <summary>GET_SHARED_OBJECT fetches the descriptor of an exported object.</summary>
    GetSharedObject = 41,

    /// <summary>SET_DEVICE_STATE_FD hands over the pipe for the device state.</summary>
    SetDeviceStateFd = 42,

    /// <summary>CHECK_DEVICE_STATE asks whether the device state was transferred completely.</summary>
    CheckDeviceState = 43,

    /// <summary>GET_SHMEM_CONFIG reads the sizes of the shared memory regions.</summary>
    GetShmemConfig = 44,

    /// <summary>GET_VRING_BASE_SKIP_DRAIN stops a ring without waiting for requests in flight.</summary>
    GetVringBaseSkipDrain = 45,
}
