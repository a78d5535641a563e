using Microsoft.Win32.SafeHandles;

namespace Vhost.Protocol;

/// <summary>The process at the other end of a connection, held by a descriptor: another one that gets its number later is not taken for it.</summary>
internal sealed class PeerProcess : IDisposable
{
    private readonly SafeFileHandle _descriptor;

    private PeerProcess(int id, SafeFileHandle descriptor) => (Id, _descriptor) = (id, descriptor);

    internal int Id { get; }

    /// <summary>Whether it has ended: it writes to no memory any more.</summary>
    internal bool HasEnded => Libc.Poll(_descriptor, Libc.POLLIN, 0) > 0;

    /// <summary>Null when there is none, or none that this process may know of.</summary>
    /// <param name="id">Its number; 0 for a peer without.</param>
    internal static PeerProcess? TryOpen(int id) => id != 0 && Libc.OpenProcess(id) is { } descriptor ? new PeerProcess(id, descriptor) : null;

    public void Dispose() => _descriptor.Dispose();
}
