using System.Runtime.CompilerServices;

namespace Vhost.Backend;

/// <summary>
/// Which back-end has a device: one at a time, since a device knows one driver and what that has acknowledged. Neither is kept alive by this.
/// </summary>
internal static class ServedDevices
{
    private static readonly ConditionalWeakTable<IVhostUserDevice, VhostUserBackend> _backends = [];

    /// <exception cref="ArgumentException">Another back-end has the device.</exception>
    internal static void Take(IVhostUserDevice device, VhostUserBackend backend)
    {
        VhostUserBackend owner = _backends.GetValue(device, _ => backend);
        if (!ReferenceEquals(owner, backend))
            throw new ArgumentException($"This {device.GetType().Name} belongs to another back-end{(owner.Name.Length > 0 ? $" ({owner.Name})" : "")} until that is disposed. Give each back-end a device of its own.", nameof(device));
    }

    internal static void GiveBack(IVhostUserDevice device, VhostUserBackend backend)
    {
        if (_backends.TryGetValue(device, out VhostUserBackend? owner) && ReferenceEquals(owner, backend))
            _backends.Remove(device);
    }
}
