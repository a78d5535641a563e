using Microsoft.Extensions.Logging;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>What a queue needs that does not want to wait for the disk.</summary>
public sealed partial class FileStorage
{
    private readonly LogBudget _budget = new(TimeProvider.System);
    private readonly ILogger _logger;
    private volatile bool _asynchronous;
    private volatile bool _readsNow;
    private volatile bool _writesNow;

    /// <summary>
    /// A ring for the requests of one queue. Null when the process may not have another one: then that queue does without until it starts again, and where the kernel refuses for good all queues do.
    /// </summary>
    internal IoRing? TryOpenRing(int places)
    {
        IoRing? ring = IoRing.TryCreate(_file, places, out LinuxException? failure);
        if (ring is not null || !_asynchronous)
            return ring;
        _asynchronous = !IsForGood(failure!.Errno);
        if (_budget.TryTake()) // a guest starts its queues as often as it likes
            BackendLog.NoIoRing(_logger, Path, failure.Message);
        return null;
    }

    /// <summary>The kernel has none, is too old, or forbids it; anything else is a shortage of descriptors or memory, which passes.</summary>
    private static bool IsForGood(int errno) => errno is Libc.ENOSYS or Libc.EPERM or Libc.EOPNOTSUPP or Libc.EINVAL;

    /// <summary>Reads what is in the page cache.</summary>
    /// <returns>Bytes of the front of <paramref name="destination"/> that were filled.</returns>
    internal uint ReadNow(ulong offset, in GuestBuffers destination)
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
    internal uint WriteNow(ulong offset, in GuestBuffers source)
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
