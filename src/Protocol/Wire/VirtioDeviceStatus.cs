namespace Vhost.Protocol;

/// <summary>The virtio device status, as SET_STATUS and GET_STATUS carry it (virtio specification, "Device Status Field").</summary>
[Flags]
public enum VirtioDeviceStatus : byte
{
    /// <summary>Reset.</summary>
    None = 0,

    /// <summary>ACKNOWLEDGE: the driver has found the device.</summary>
    Acknowledge = 1,

    /// <summary>DRIVER: the driver knows how to drive the device.</summary>
    Driver = 2,

    /// <summary>DRIVER_OK: the driver is ready.</summary>
    DriverOk = 4,

    /// <summary>FEATURES_OK: the features are agreed on.</summary>
    FeaturesOk = 8,

    /// <summary>SUSPEND: the device is suspended (virtio 1.4).</summary>
    Suspend = 16,

    /// <summary>DEVICE_NEEDS_RESET: the device has met an error it cannot recover from.</summary>
    NeedsReset = 64,

    /// <summary>FAILED: the driver has given up.</summary>
    Failed = 128,
}
