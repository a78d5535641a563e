namespace Vhost.Protocol;

/// <summary>Feature bits of a console device (virtio 1.2, 5.3.3); cast to <see cref="VirtioFeatures"/> for the feature word.</summary>
[Flags]
public enum VirtioConsoleFeatures : ulong
{
    /// <summary>No feature.</summary>
    None = 0,

    /// <summary>VIRTIO_CONSOLE_F_SIZE (bit 0): columns and rows are given.</summary>
    Size = 1UL << 0,

    /// <summary>VIRTIO_CONSOLE_F_MULTIPORT (bit 1): several ports, and the two control queues.</summary>
    MultiPort = 1UL << 1,

    /// <summary>VIRTIO_CONSOLE_F_EMERG_WRITE (bit 2): single characters can be written through configuration space.</summary>
    EmergencyWrite = 1UL << 2,
}
