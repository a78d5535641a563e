namespace Vhost.Bench.Compare;

/// <summary>What a disk stores its data in, on our side and in the ways that the peer can.</summary>
internal abstract class BlockStorage
{
    /// <summary>Of disks with content; all of it fits into the page cache.</summary>
    protected const long ContentBytes = 256L << 20;

    private const string NullBytes = "1073741824";

    internal static IReadOnlyList<BlockStorage> All { get; } = [new NullDisk(), new MemoryDisk(), new FileDisk()];

    internal abstract string Name { get; }

    /// <summary>The part of our own command that says what to serve.</summary>
    internal abstract IEnumerable<string> OurArguments(Workbench bench, bool direct);

    /// <summary>Every way of the peer that may be its best.</summary>
    internal abstract IEnumerable<StorageDaemonCommand> Peers(Workbench bench);

    /// <summary>From the main loop, from a thread, from a thread that polls.</summary>
    protected static IEnumerable<StorageDaemonCommand> Threads(StorageDaemonCommand command) =>
        [command, command with { Thread = true }, command with { Thread = true, PollNanoseconds = 32768 }];

    private sealed class NullDisk : BlockStorage
    {
        internal override string Name => "null";

        internal override IEnumerable<string> OurArguments(Workbench bench, bool direct) => ["--null", "1G"];

        internal override IEnumerable<StorageDaemonCommand> Peers(Workbench bench) => Threads(new StorageDaemonCommand($"driver=null-co,size={NullBytes}"));
    }

    /// <summary>The peer has no memory of its own to serve: it gets a file in memory.</summary>
    private sealed class MemoryDisk : BlockStorage
    {
        private readonly ImageFile _image = new("/dev/shm", ContentBytes);

        internal override string Name => "memory";

        internal override IEnumerable<string> OurArguments(Workbench bench, bool direct) => ["--memory", "256M"];

        internal override IEnumerable<StorageDaemonCommand> Peers(Workbench bench) =>
            from aio in (string[])["threads", "io_uring"]
            from command in Threads(new StorageDaemonCommand($"driver=file,aio={aio},filename={_image.Path(bench)}"))
            select command;
    }

    private sealed class FileDisk : BlockStorage
    {
        private readonly ImageFile _image = new(System.IO.Path.Combine("bench", "out"), ContentBytes);

        internal override string Name => "file";

        internal override IEnumerable<string> OurArguments(Workbench bench, bool direct) => ["--image", _image.Path(bench), .. direct ? (string[])["--cache", "none"] : []];

        /// <summary>Linux' own asynchronous I/O works without the page cache only.</summary>
        internal override IEnumerable<StorageDaemonCommand> Peers(Workbench bench) =>
            from way in ((string Aio, bool Direct)[])[("threads", false), ("io_uring", false), ("threads", true), ("io_uring", true), ("native", true)]
            from command in Threads(new StorageDaemonCommand($"driver=file,aio={way.Aio},filename={_image.Path(bench)}") { Direct = way.Direct })
            select command;
    }
}
