using System.CommandLine;
using System.CommandLine.Parsing;
using Microsoft.Extensions.Logging;
using Vhost.Backend;
using Vhost.Protocol;

namespace Vhost.Tool;

/// <summary><c>vhost-user serve blk</c>: is the back-end of a disk until it is told to end.</summary>
internal static class ServeBlkCommand
{
    internal const string Name = "blk";

    private const int DefaultBlockSize = 512;
    private const ulong MostBytes = 1UL << 50;

    private static readonly Option<string> _socketPath = ToolOptions.Path("--socket-path", "Socket to listen on; with --client, to connect to.");
    private static readonly Option<int?> _descriptor = Descriptor();
    private static readonly Option<bool> _client = new("--client") { Description = "Connect to a front-end that listens, again and again, instead of listening." };
    private static readonly Option<string> _image = Image();
    private static readonly Option<ulong?> _memory = ToolOptions.Size("--memory", "Serve an empty disk in memory of this size; it is gone at the end.");
    private static readonly Option<ulong?> _null = ToolOptions.Size("--null", "Serve a disk of this size that stores nothing, for measuring.");
    private static readonly Option<bool> _readOnly = new("--read-only") { Description = "Refuse everything that changes the disk." };
    private static readonly Option<FileCache> _cache = Words(
        "--cache", "What --image does with the page cache: writeback, the default, uses it, none reads and writes past it (O_DIRECT).", ("writeback", FileCache.WriteBack), ("none", FileCache.None));
    private static readonly Option<FileAio> _aio = Words(
        "--aio", "How --image waits for the disk: io_uring, sync (one request after the other), or auto, the default (io_uring where that is possible and of use).",
        ("auto", FileAio.Auto), ("io_uring", FileAio.IoUring), ("sync", FileAio.Sync));
    private static readonly Option<int> _queues = ToolOptions.Number("--num-queues", "Queues to offer.", 1, 256, 1);
    private static readonly Option<int> _queueSize = ToolOptions.PowerOfTwo("--queue-size", "Largest queue to accept.", 4, 32768, 1024);
    private static readonly Option<int> _blockSize = ToolOptions.PowerOfTwo("--logical-block-size", "Logical block.", DefaultBlockSize, 32768, DefaultBlockSize);
    private static readonly Option<bool> _poll = new("--poll") { Description = "Poll each queue from a thread of its own; costs a processor for each started queue." };
    private static readonly Option<int[]> _processors = ToolOptions.Processors(
        "Serve each queue from a thread of its own, bound to one of these processors, in turn; it sleeps while there is nothing to do unless --poll is given.");
    private static readonly Option<UnixFileMode?> _mode = Mode();
    private static readonly Option<string> _group = Group();
    private static readonly Option<LogLevel> _logLevel = Words(
        "--log-level", "What to tell on standard error: warning, the default, information (also what was served again for a back-end that was killed), debug (also each start and stop), or trace (each message).",
        ("warning", LogLevel.Warning), ("information", LogLevel.Information), ("debug", LogLevel.Debug), ("trace", LogLevel.Trace));
    private static readonly Option<bool> _json = ToolOptions.Json();

    internal static Command Build()
    {
        Command command = new(Name, "Serve a disk. SIGTERM and Ctrl-C end it; SIGHUP makes it look at the size of its image again.")
        {
            _socketPath, _descriptor, _client, _image, _memory, _null, _readOnly, _cache, _aio, _queues, _queueSize, _blockSize, _poll, _processors, _mode, _group, _logLevel, _json,
            ToolCommand.Capabilities("Print what this command can do and exit; everything else is ignored."),
        };
        command.Validators.Add(CheckSocket);
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
        SocketPath = line.GetValue(_socketPath),
        Descriptor = line.GetValue(_descriptor),
        Client = line.GetValue(_client),
        Image = line.GetValue(_image),
        Memory = line.GetValue(_memory),
        Null = line.GetValue(_null),
        ReadOnly = line.GetValue(_readOnly),
        Cache = line.GetValue(_cache),
        Aio = line.GetValue(_aio),
        Queues = line.GetValue(_queues),
        QueueSize = line.GetValue(_queueSize),
        LogicalBlockSize = line.GetValue(_blockSize),
        Poll = line.GetValue(_poll),
        Processors = line.GetRequiredValue(_processors),
        SocketMode = line.GetValue(_mode),
        SocketGroup = line.GetValue(_group),
        LogLevel = line.GetResult(_logLevel) is null ? LogLevel.Warning : line.GetValue(_logLevel),
    };

    private static void CheckSocket(CommandResult result)
    {
        bool path = Given(result, _socketPath);
        bool descriptor = Given(result, _descriptor);
        if (path == descriptor)
            result.AddError("Give either --socket-path PATH or --fd N.");
        else if (descriptor && Given(result, _client))
            result.AddError("--client needs --socket-path: an inherited socket is listening or connected already.");
        else if ((descriptor || Given(result, _client)) && (Given(result, _mode) || Given(result, _group)))
            result.AddError("--socket-mode and --socket-group need a socket file of our own: --socket-path without --client.");
    }

    private static void CheckSource(CommandResult result)
    {
        if (!Given(result, _image) && (Given(result, _cache) || Given(result, _aio)))
            result.AddError("--cache and --aio are about files: they need --image FILE.");
        if (new Option[] { _image, _memory, _null }.Count(option => Given(result, option)) != 1)
        {
            result.AddError("Give exactly one of --image FILE, --memory SIZE and --null SIZE.");
            return;
        }

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

    private static bool Given(CommandResult result, Option option) => result.GetResult(option) is { Implicit: false };

    private static Option<string> Image()
    {
        // The vhost-user specification's conventions for back-end programs call it --blk-file.
        Option<string> option = new("--image", "--blk-file") { Description = "Serve this raw disk image.", HelpName = "FILE" };
        option.Validators.Add(result =>
        {
            if (result.Tokens.Any(token => token.Value.Length == 0))
                result.AddError("--image: must name a file.");
        });
        return option;
    }

    /// <summary>An option with a few words for values; the first stands for the value of an option that is absent.</summary>
    private static Option<T> Words<T>(string name, string description, params (string Word, T Value)[] words)
        where T : struct, Enum
    {
        string all = string.Join('|', words.Select(word => word.Word));
        return new Option<T>(name)
        {
            Description = description,
            HelpName = all,
            CustomParser = argument =>
            {
                string text = argument.Tokens[0].Value;
                foreach ((string word, T value) in words)
                {
                    if (word == text)
                        return value;
                }

                argument.AddError($"{name} '{text}': must be one of {all}.");
                return words[0].Value;
            },
        };
    }

    private static Option<int?> Descriptor() => new("--fd")
    {
        Description = "Inherited socket to use, listening or connected.",
        HelpName = "N",
        CustomParser = argument =>
        {
            string text = argument.Tokens[0].Value;
            if (int.TryParse(text, System.Globalization.NumberStyles.None, System.Globalization.CultureInfo.InvariantCulture, out int number) && number > 2)
                return number;
            argument.AddError($"--fd '{text}': must be the number of an inherited descriptor, 3 or more.");
            return null;
        },
    };

    private static Option<string> Group()
    {
        Option<string> option = new("--socket-group") { Description = "Group of the socket file, by name or number.", HelpName = "GROUP" };
        option.Validators.Add(result =>
        {
            if (result.Tokens is [var token, ..] && !VhostUserListener.TryFindGroup(token.Value, out _))
                result.AddError($"--socket-group '{token.Value}': there is no such group on this system.");
        });
        return option;
    }

    private static Option<UnixFileMode?> Mode() => new("--socket-mode")
    {
        Description = "Permissions of the socket file in octal, for example 660.",
        HelpName = "MODE",
        CustomParser = argument =>
        {
            string text = argument.Tokens[0].Value;
            if (text.Length is > 0 and <= 4 && text.All(digit => digit is >= '0' and <= '7') && Convert.ToInt32(text, 8) is var mode && mode <= 0x1FF)
                return (UnixFileMode)mode;
            argument.AddError($"--socket-mode '{text}': must be octal permissions like 660.");
            return null;
        },
    };
}
