namespace Vhost.Backend;

/// <summary>The device status (virtio 1.2, 2.1): what the driver says, and DEVICE_NEEDS_RESET, which the device says. Any thread.</summary>
internal sealed class DriverStatus
{
    private const int NeedsReset = 0x40;

    private int _value;

    internal int Value => Volatile.Read(ref _value);

    /// <summary>The driver says another one. It cannot take DEVICE_NEEDS_RESET back other than by a reset, which is 0.</summary>
    internal void Set(byte value)
    {
        int before, after;
        do
        {
            before = Volatile.Read(ref _value);
            after = value == 0 ? 0 : value | (before & NeedsReset);
        }
        while (Interlocked.CompareExchange(ref _value, after, before) != before);
    }

    /// <summary>The device cannot go on.</summary>
    internal void SetNeedsReset() => Interlocked.Or(ref _value, NeedsReset);
}
