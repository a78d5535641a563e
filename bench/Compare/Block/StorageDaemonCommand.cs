using System.Globalization;

namespace Vhost.Bench.Compare;

/// <summary>One way to run qemu-storage-daemon.</summary>
/// <param name="BlockDevice">Driver and options of the disk, without its name.</param>
internal sealed record StorageDaemonCommand(string BlockDevice)
{
    internal const string Program = "qemu-storage-daemon";
    internal const string Package = "qemu-system-common";

    /// <summary>Serves the queue from a thread of its own instead of the main loop.</summary>
    public bool Thread { get; init; }

    /// <summary>How long that thread polls before it sleeps, in ns; 0: it does not.</summary>
    public int PollNanoseconds { get; init; }

    /// <summary>Whether the page cache is left out.</summary>
    public bool Direct { get; init; }

    /// <summary>Whether it was ever found to be the fastest, or close to it: with the page cache, from the main loop or from a thread that polls.</summary>
    internal bool IsLikely => !Direct && Thread == PollNanoseconds > 0;

    internal IReadOnlyList<string> Arguments(string socket) =>
    [
        .. Thread ? (string[])["--object", string.Create(CultureInfo.InvariantCulture, $"iothread,id=t0,poll-max-ns={PollNanoseconds}")] : [],
        "--blockdev", $"node-name=d0,{BlockDevice}{(Direct ? ",cache.direct=on" : "")}",
        "--export", $"type=vhost-user-blk,id=e0,node-name=d0,addr.type=unix,addr.path={socket},writable=on,num-queues=1{(Thread ? ",iothread=t0" : "")}",
    ];
}
