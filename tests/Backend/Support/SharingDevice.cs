using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Backend.Tests;

/// <summary>An echo that has objects and shared memory regions besides.</summary>
internal sealed class SharingDevice : ISharedObjectDevice, ISharedMemoryDevice
{
    private readonly EchoDevice _echo = new();

    /// <summary>The one object that it has; its descriptor is that of a new eventfd each time.</summary>
    public Guid Object { get; } = Guid.NewGuid();

    public bool Throws { get; set; }

    public int QueueCount => 2;

    public VirtioFeatures Features => _echo.Features;

    public IReadOnlyList<ulong> SharedMemorySizes
    {
        get => Throws ? throw new InvalidOperationException("the test device was told to fail") : field;
        init;
    } = [0, 1 << 20, 0, 1 << 16];

    public SafeFileHandle? OpenSharedObject(Guid id)
    {
        if (Throws)
            throw new InvalidOperationException("the test device was told to fail");
        return id == Object ? new EventNotifier().Descriptor : null;
    }

    public void Process(DeviceVirtqueue queue) => _echo.Process(queue);
}
