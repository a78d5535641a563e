namespace Vhost.Protocol;

/// <summary>Protocol feature bits (vhost-user "Protocol features"), exchanged by GET_PROTOCOL_FEATURES and SET_PROTOCOL_FEATURES.</summary>
[Flags]
public enum VhostUserProtocolFeatures : ulong
{
    /// <summary>No protocol feature.</summary>
    None = 0,

    /// <summary>VHOST_USER_PROTOCOL_F_MQ (bit 0): GET_QUEUE_NUM may be asked; more than the default queues.</summary>
    MultiQueue = 1UL << 0,

    /// <summary>VHOST_USER_PROTOCOL_F_LOG_SHMFD (bit 1): the dirty log is a shared descriptor.</summary>
    LogShmFd = 1UL << 1,

    /// <summary>VHOST_USER_PROTOCOL_F_RARP (bit 2): SEND_RARP.</summary>
    Rarp = 1UL << 2,

    /// <summary>VHOST_USER_PROTOCOL_F_REPLY_ACK (bit 3): the NEED_REPLY flag asks for an acknowledgement.</summary>
    ReplyAck = 1UL << 3,

    /// <summary>VHOST_USER_PROTOCOL_F_NET_MTU (bit 4): NET_SET_MTU.</summary>
    NetMtu = 1UL << 4,

    /// <summary>VHOST_USER_PROTOCOL_F_BACKEND_REQ (bit 5): the back-end channel.</summary>
    BackendReq = 1UL << 5,

    /// <summary>VHOST_USER_PROTOCOL_F_CROSS_ENDIAN (bit 6): SET_VRING_ENDIAN.</summary>
    CrossEndian = 1UL << 6,

    /// <summary>VHOST_USER_PROTOCOL_F_CRYPTO_SESSION (bit 7): crypto sessions.</summary>
    CryptoSession = 1UL << 7,

    /// <summary>VHOST_USER_PROTOCOL_F_PAGEFAULT (bit 8): postcopy.</summary>
    PageFault = 1UL << 8,

    /// <summary>VHOST_USER_PROTOCOL_F_CONFIG (bit 9): GET_CONFIG, SET_CONFIG and CONFIG_CHANGE_MSG.</summary>
    Config = 1UL << 9,

    /// <summary>VHOST_USER_PROTOCOL_F_BACKEND_SEND_FD (bit 10): descriptors on the back-end channel.</summary>
    BackendSendFd = 1UL << 10,

    /// <summary>VHOST_USER_PROTOCOL_F_HOST_NOTIFIER (bit 11): VRING_HOST_NOTIFIER_MSG.</summary>
    HostNotifier = 1UL << 11,

    /// <summary>VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD (bit 12): the in-flight area.</summary>
    InflightShmFd = 1UL << 12,

    /// <summary>VHOST_USER_PROTOCOL_F_RESET_DEVICE (bit 13): RESET_DEVICE.</summary>
    ResetDevice = 1UL << 13,

    /// <summary>VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS (bit 14): kicks and calls as messages; needs BACKEND_REQ and REPLY_ACK.</summary>
    InbandNotifications = 1UL << 14,

    /// <summary>VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS (bit 15): memory regions one by one; replaces SET_MEM_TABLE.</summary>
    ConfigureMemSlots = 1UL << 15,

    /// <summary>VHOST_USER_PROTOCOL_F_STATUS (bit 16): SET_STATUS and GET_STATUS.</summary>
    Status = 1UL << 16,

    /// <summary>VHOST_USER_PROTOCOL_F_XEN_MMAP (bit 17): Xen fields in memory regions.</summary>
    XenMmap = 1UL << 17,

    /// <summary>VHOST_USER_PROTOCOL_F_SHARED_OBJECT (bit 18): exported objects.</summary>
    SharedObject = 1UL << 18,

    /// <summary>VHOST_USER_PROTOCOL_F_DEVICE_STATE (bit 19): transfer of the device state.</summary>
    DeviceState = 1UL << 19,

    /// <summary>VHOST_USER_PROTOCOL_F_GET_VRING_BASE_INFLIGHT (bit 20): requests in flight stay recorded when a ring stops; needs INFLIGHT_SHMFD.</summary>
    GetVringBaseInflight = 1UL << 20,

    /// <summary>VHOST_USER_PROTOCOL_F_GPA_ADDRESSES (bit 21): every address of the front-end is guest-physical.</summary>
    GpaAddresses = 1UL << 21,

    /// <summary>VHOST_USER_PROTOCOL_F_SHMEM (bit 22): shared memory regions.</summary>
    Shmem = 1UL << 22,

    /// <summary>VHOST_USER_PROTOCOL_F_GET_VRING_BASE_SKIP_DRAIN (bit 23): GET_VRING_BASE_SKIP_DRAIN; needs GET_VRING_BASE_INFLIGHT and INFLIGHT_SHMFD.</summary>
    GetVringBaseSkipDrain = 1UL << 23,

    /// <summary>Every bit this library knows (0 to 23); larger numbers are unknown bits.</summary>
    All = (1UL << 24) - 1,
}
