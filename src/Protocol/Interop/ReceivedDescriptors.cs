using Microsoft.Win32.SafeHandles;

namespace Vhost.Protocol;

/// <summary>The descriptors that came with one message, owned from the moment the kernel installed them; what nobody takes is closed.</summary>
internal sealed class ReceivedDescriptors
{
    private SafeFileHandle?[] _handles = [];

    internal int Count { get; private set; }

    /// <summary>Makes room for <paramref name="more"/> descriptors, so that adding them cannot throw.</summary>
    internal void Reserve(int more)
    {
        if (_handles.Length < Count + more) Array.Resize(ref _handles, Count + more);
    }

    internal void Add(int descriptor) => Add(new SafeFileHandle(descriptor, ownsHandle: true));

    internal void Add(SafeFileHandle handle)
    {
        if (Count == _handles.Length) Reserve(Math.Max(4, Count));
        _handles[Count++] = handle;
    }

    /// <summary>Gives a descriptor away; null when it was taken before.</summary>
    internal SafeFileHandle? Take(int index)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)index, (uint)Count, nameof(index));
        return Interlocked.Exchange(ref _handles[index], null);
    }

    /// <summary>Closes every descriptor that was not taken.</summary>
    internal void Clear()
    {
        for (int i = 0; i < Count; i++) Interlocked.Exchange(ref _handles[i], null)?.Dispose();
        Count = 0;
    }
}
