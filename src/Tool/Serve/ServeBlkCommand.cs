using System.CommandLine;
using System.CommandLine.Parsing;
using Vhost.Backend;

namespace Vhost.Tool;

/// <summary><c>vhost-user serve blk</c>: is the back-end of a disk until it is told to end.</summary>
internal static class ServeBlkCommand
{
    internal const string Name = "blk";

    private const int DefaultBlockSize = 512;
    private const ulong MostBytes = 1UL << 50;

    private static readonly Option<string[]> _image = Image();
    private static readonly Option<ulong?> _memory = ToolOptions.Size("--memory", "Serve an empty disk in memory of this size, on each socket one; it is gone at the end.");
    private static readonly Option<ulong?> _null = ToolOptions.Size("--null", "Serve a disk of this size that stores nothing, for measuring.");
    private static readonly Option<bool> _readOnly = new("--read-only") { Description = "Refuse everything that changes the disk." };
    private static readonly Option<FileCache> _cache = ToolOptions.Words(
        "--cache", "What --image does with the page cache: writeback, the default, uses it, none reads and writes past it (O_DIRECT).", ("writeback", FileCache.WriteBack), ("none", FileCache.None));
    private static readonly Option<FileAio> _aio = ToolOptions.Words(
        "--aio", "How --image waits for the disk: io_uring, sync (one request after the other), or auto, the default (io_uring where that is possible and of use).",
        ("auto", FileAio.Auto), ("io_uring", FileAio.IoUring), ("sync", FileAio.Sync));
    private static readonly Option<bool> _noLock = new("--no-lock")
    {
        Description = "Do not lock --image as QEMU does: for the second back-end of an image while a guest moves to it from the first, with its memory. Two guests that write to one image destroy it.",
    };

    private static readonly Option<bool> _raw = new("--raw")
    {
        Description = "Serve the bytes of --image as they are even where it begins like a qcow2, vmdk or other image, which is refused otherwise, since what a guest writes would destroy it.",
    };

    private static readonly Option<int> _queues = ToolOptions.Number("--num-queues", "Queues to offer.", 1, 256, 1);
    private static readonly Option<int> _queueSize = ToolOptions.PowerOfTwo("--queue-size", "Largest queue to accept.", 4, 32768, 1024);
    private static readonly Option<int> _blockSize = ToolOptions.PowerOfTwo("--logical-block-size", "Logical block.", DefaultBlockSize, 32768, DefaultBlockSize);
    private static readonly Option<bool> _json = ToolOptions.Json();

    internal static Command Build()
    {
        Command command = new(Name, "Serve a disk. SIGTERM and Ctrl-C end it; SIGHUP makes it look at the size of its image again.")
        {
            _image, _memory, _null, _readOnly, _cache, _aio, _noLock, _raw, _queues, _queueSize, _blockSize, _json,
            ToolCommand.Capabilities("Print what this command can do and exit; everything else is ignored."),
        };
        SocketOptions.AddTo(command);
        command.Validators.Add(CheckSource);
        command.SetAction((line, stop) => RunAsync(Read(line), line.GetValue(_json), stop));
        return command;
    }

    private static async Task<int> RunAsync(ServeSettings settings, bool json, CancellationToken stop)
    {
        ServeReport report = await BlockServer.RunAsync(settings, stop);
        if (json)
            ToolOutput.PrintJson(report, ToolJson.Default.ServeReport);
        else
            ToolOutput.PrintNotice(report.ToText());
        return 0;
    }

    private static ServeSettings Read(ParseResult line) => new()
    {
        Socket = SocketOptions.Read(line),
        Images = line.GetValue(_image) ?? [],
        Memory = line.GetValue(_memory),
        Null = line.GetValue(_null),
        ReadOnly = line.GetValue(_readOnly),
        Cache = line.GetValue(_cache),
        Aio = line.GetValue(_aio),
        Lock = !line.GetValue(_noLock),
        Raw = line.GetValue(_raw),
        Queues = line.GetValue(_queues),
        QueueSize = line.GetValue(_queueSize),
        LogicalBlockSize = line.GetValue(_blockSize),
    };

    private static void CheckSource(CommandResult result)
    {
        if (!Given(result, _image) && (Given(result, _cache) || Given(result, _aio) || Given(result, _noLock) || Given(result, _raw)))
            result.AddError("--cache, --aio, --no-lock and --raw are about files: they need --image FILE.");
        if (new Option[] { _image, _memory, _null }.Count(option => Given(result, option)) != 1)
        {
            result.AddError("Give exactly one of --image FILE, --memory SIZE and --null SIZE.");
            return;
        }

        SocketOptions.RequireForEach(result, _image);
        ulong most = (ulong)GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;
        if (ValueOf(result, _memory) is { } wanted && wanted > most)
            result.AddError($"--memory {SizeText.Of(wanted)}: this process can have at most {most >> 20}M. Give less, or an image: --image FILE.");
        ulong block = ValueOf(result, _blockSize) ?? DefaultBlockSize;
        if (!ulong.IsPow2(block))
            return; // its own parser reports it
        foreach (Option option in new Option[] { _memory, _null })
        {
            if (ValueOf(result, option) is { } bytes && (bytes == 0 || bytes % block != 0 || bytes > MostBytes))
                result.AddError(FormattableString.Invariant($"{option.Name}: must be a multiple of the logical block size {block}, from {block} to {SizeText.Of(MostBytes)}."));
        }
    }

    /// <summary>The option's value as written; null when it is absent or no size, which its own parser reports.</summary>
    private static ulong? ValueOf(CommandResult result, Option option) =>
        result.GetResult(option) is { Implicit: false, Tokens: [var token, ..] } && SizeText.TryParse(token.Value, out ulong value) ? value : null;

    private static bool Given(CommandResult result, Option option) => SocketOptions.Given(result, option);

    private static Option<string[]> Image()
    {
        // The vhost-user specification's conventions for back-end programs call it --blk-file.
        Option<string[]> option = new("--image", "--blk-file") { Description = "Serve this raw disk image. With several sockets one for each, in their order.", HelpName = "FILE", Arity = ArgumentArity.OneOrMore };
        option.Validators.Add(result =>
        {
            if (result.Tokens.Any(token => token.Value.Length == 0))
                result.AddError("--image: must name a file.");
        });
        return option;
    }
}
