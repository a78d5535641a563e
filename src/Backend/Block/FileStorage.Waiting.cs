using Microsoft.Extensions.Logging;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>What a queue needs that does not want to wait for the disk.</summary>
public sealed partial class FileStorage
{
    private readonly ILogger _logger;
    private volatile bool _asynchronous;
    private volatile bool _readsNow;
    private volatile bool _writesNow;

    /// <summary>A ring for the requests of one queue; null when the process may not have another one, and from then on all queues do without.</summary>
    internal IoRing? TryOpenRing(int places)
    {
        IoRing? ring = IoRing.TryCreate(_file, places, out LinuxException? failure);
        if (ring is null && _asynchronous)
        {
            _asynchronous = false;
            BackendLog.NoIoRing(_logger, Path, failure!.Message);
        }

        return ring;
    }

    /// <summary>Reads what is in the page cache.</summary>
    /// <returns>Bytes of the front of <paramref name="destination"/> that were filled.</returns>
    internal uint ReadNow(ulong offset, GuestBuffers destination)
    {
        if (!_readsNow)
            return 0;
        int read = destination.ReadFromFileNow(_file, offset);
        if (read == -Libc.EOPNOTSUPP)
            _readsNow = false;
        return (uint)Math.Max(read, 0);
    }

    /// <summary>Writes to the page cache, as far as that needs no waiting.</summary>
    /// <returns>Bytes of the front of <paramref name="source"/> that were written.</returns>
    internal uint WriteNow(ulong offset, GuestBuffers source)
    {
        if (_writesNow)
        {
            int written = source.WriteToFileNow(_file, offset);
            if (written != -Libc.EOPNOTSUPP)
                return (uint)Math.Max(written, 0);
            _writesNow = false;
        }

        if (_isDirect)
            return 0;

        // A file system that cannot promise not to wait, like ext4. It seldom does, and handing each write to a thread of the kernel costs twice as much.
        return (uint)source.WriteToFile(_file, offset);
    }
}
