namespace Vhost.Protocol;

/// <summary>Requests of the back-end, sent on the back-end channel (vhost-user "Back-end message types"). The enumeration is open.</summary>
public enum VhostUserBackendRequest : uint
{
    /// <summary>IOTLB_MSG reports an IOTLB miss or access failure.</summary>
    IotlbMsg = 1,

    /// <summary>CONFIG_CHANGE_MSG announces that the configuration space changed.</summary>
    ConfigChangeMsg = 2,

    /// <summary>VRING_HOST_NOTIFIER_MSG sets or removes the host notifier area of a ring.</summary>
    VringHostNotifierMsg = 3,

    /// <summary>VRING_CALL calls a ring in band.</summary>
    VringCall = 4,

    /// <summary>VRING_ERR reports a ring error in band.</summary>
    VringErr = 5,

    /// <summary>SHARED_OBJECT_ADD registers an exported object.</summary>
    SharedObjectAdd = 6,

    /// <summary>SHARED_OBJECT_REMOVE withdraws an exported object.</summary>
    SharedObjectRemove = 7,

    /// <summary>SHARED_OBJECT_LOOKUP looks an exported object up; the reply carries its descriptor.</summary>
    SharedObjectLookup = 8,

    /// <summary>SHMEM_MAP maps a file range into a shared memory region.</summary>
    ShmemMap = 9,

    /// <summary>SHMEM_UNMAP removes a mapping from a shared memory region.</summary>
    ShmemUnmap = 10,
}
