namespace Vhost.Protocol;

/// <summary>What a control message of a console device says (virtio 1.2, 5.3.6.2).</summary>
public enum VirtioConsoleEvent : ushort
{
    /// <summary>VIRTIO_CONSOLE_DEVICE_READY: the driver is ready (value 1), or failed (0).</summary>
    DeviceReady = 0,

    /// <summary>VIRTIO_CONSOLE_DEVICE_ADD: the device has this port.</summary>
    DeviceAdd = 1,

    /// <summary>VIRTIO_CONSOLE_DEVICE_REMOVE: the device has this port no more.</summary>
    DeviceRemove = 2,

    /// <summary>VIRTIO_CONSOLE_PORT_READY: the driver can use the port (value 1), or could not set it up (0).</summary>
    PortReady = 3,

    /// <summary>VIRTIO_CONSOLE_CONSOLE_PORT: the port is a console.</summary>
    ConsolePort = 4,

    /// <summary>VIRTIO_CONSOLE_RESIZE: the console has another size; columns and rows follow, 16 bits each.</summary>
    Resize = 5,

    /// <summary>VIRTIO_CONSOLE_PORT_OPEN: the port was opened (value 1) or closed (0) on the sender's side.</summary>
    PortOpen = 6,

    /// <summary>VIRTIO_CONSOLE_PORT_NAME: the port's name follows.</summary>
    PortName = 7,
}
