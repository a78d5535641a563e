namespace Vhost.Frontend;

/// <summary>How <see cref="VhostUserFrontend.ResetDeviceAsync"/> reset the device.</summary>
public enum DeviceResetMethod
{
    /// <summary>By RESET_DEVICE.</summary>
    ResetDevice,

    /// <summary>By SET_STATUS 0.</summary>
    Status,

    /// <summary>The back-end has no message for it: its rings were stopped, and the device keeps whatever internal state it has.</summary>
    RingsStopped,
}
