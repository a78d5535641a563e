using System.Globalization;
using Microsoft.Win32.SafeHandles;

namespace Vhost.Protocol;

/// <summary>
/// The process at the other end of a connection, held by a descriptor from early on, so that another one that gets its number later is not taken for it. Where the kernel gives no descriptor (none left, a filter
/// forbids it, older than 5.3) the number has to do.
/// </summary>
internal sealed class PeerProcess : IDisposable
{
    private readonly SafeFileHandle? _descriptor;

    private PeerProcess(int id, SafeFileHandle? descriptor) => (Id, _descriptor) = (id, descriptor);

    internal int Id { get; }

    /// <summary>Whether it has ended: it writes to no memory any more.</summary>
    internal bool HasEnded => _descriptor is { } descriptor
        ? Libc.Poll(descriptor, Libc.POLLIN, 0) > 0
        : !Directory.Exists(string.Create(CultureInfo.InvariantCulture, $"/proc/{Id}"));

    /// <summary>Null when there is none, or not any more.</summary>
    /// <param name="id">Its number; 0 for a peer without.</param>
    internal static PeerProcess? TryOpen(int id)
    {
        if (id == 0)
            return null;
        SafeFileHandle? descriptor = Libc.OpenProcess(id, out int errno);
        return descriptor is null && errno == Libc.ESRCH ? null : new PeerProcess(id, descriptor);
    }

    public void Dispose() => _descriptor?.Dispose();
}
