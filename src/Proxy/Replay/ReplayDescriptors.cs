using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Proxy;

/// <summary>Descriptors like those of a recording: memory of the same size, which holds zeros, and everything else without anybody at the other end. What was one file is one file again.</summary>
internal sealed class ReplayDescriptors : IDisposable
{
    private readonly Dictionary<(ProxyDescriptorKind, ulong), SafeFileHandle> _files = [];
    private readonly List<IDisposable> _owned = [];

    /// <summary>The other ends of sockets, by the number of the file that was recorded.</summary>
    private readonly Dictionary<ulong, SafeFileHandle> _peers = [];

    /// <summary>What a message carried; stays with this object.</summary>
    internal SafeHandle[] Of(ProxyMessage message) => [.. message.Descriptors.Select(Of)];

    /// <summary>The other end of a socket that was made for a message; null when there is none. The caller's from here on.</summary>
    internal SafeFileHandle? TakePeer(ProxyDescriptor descriptor) => _peers.Remove(descriptor.File, out SafeFileHandle? peer) ? peer : null;

    public void Dispose()
    {
        foreach (IDisposable owned in _owned)
            owned.Dispose();
        foreach (SafeFileHandle peer in _peers.Values)
            peer.Dispose();
    }

    private SafeFileHandle Of(ProxyDescriptor descriptor)
    {
        (ProxyDescriptorKind, ulong) file = (descriptor.Kind, descriptor.File);
        if (descriptor.File != 0 && _files.TryGetValue(file, out SafeFileHandle? known))
            return known;
        SafeFileHandle made = Make(descriptor);
        if (descriptor.File != 0)
            _files[file] = made;
        return made;
    }

    private SafeFileHandle Make(ProxyDescriptor descriptor)
    {
        switch (descriptor.Kind)
        {
            case ProxyDescriptorKind.Memory or ProxyDescriptorKind.File when descriptor.Size > 0:
                return Own(SharedMemory.CreateSealed("replay", descriptor.Size)).Descriptor;
            case ProxyDescriptorKind.Event:
                return Own(new EventNotifier()).Descriptor;
            case ProxyDescriptorKind.Socket or ProxyDescriptorKind.Pipe:
                (SafeFileHandle end, SafeFileHandle peer) = Libc.UnixSocketPair();
                if (descriptor.File == 0 || !_peers.TryAdd(descriptor.File, peer))
                    Own(peer);
                return Own(end);
            default:
                return Own(File.OpenHandle("/dev/null", FileMode.Open, FileAccess.ReadWrite));
        }
    }

    private T Own<T>(T made)
        where T : IDisposable
    {
        _owned.Add(made);
        return made;
    }
}
