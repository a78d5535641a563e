using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using Microsoft.Extensions.Logging;
using Vhost.Protocol;

namespace Vhost.Tool;

/// <summary>The options of every <c>serve</c> command: which socket, and how its queues are served.</summary>
internal static class SocketOptions
{
    private static readonly Option<string[]> _socketPath = ToolOptions.Paths("--socket-path", "Socket to listen on; with --client, to connect to. Given more than once: as many devices, each on its socket.");
    private static readonly Option<int?> _descriptor = Descriptor();
    private static readonly Option<bool> _client = new("--client") { Description = "Connect to a front-end that listens, again and again, instead of listening." };
    private static readonly Option<bool> _poll = new("--poll") { Description = "Poll each queue from a thread of its own; costs a processor for each started queue." };
    private static readonly Option<int?> _threads = ToolOptions.OptionalNumber(
        "--threads", "Serve the queues of all sockets from so many threads, each new queue from the one that has the fewest; with --poll they look without pause.", 1, 1024);
    private static readonly Option<int[]> _processors = ToolOptions.Processors(
        "Serve each queue from a thread of its own, bound to one of these processors, in turn; it sleeps while there is nothing to do unless --poll is given. With --threads those are bound.");
    private static readonly Option<UnixFileMode?> _mode = Mode();
    private static readonly Option<string> _group = Group();
    private static readonly Option<bool> _iommu = new("--iommu")
    {
        Description = "Offer ACCESS_PLATFORM, for a front-end with an IOMMU (QEMU: iommu_platform=on). One that hands on whatever is offered without having one cannot use the device then.",
    };

    private static readonly Option<bool> _postcopy = new("--postcopy")
    {
        Description = "Let guests run before all of their memory has arrived (PAGEFAULT, in place of CONFIGURE_MEM_SLOTS): for the host that a guest moves to. Needs permission for /dev/userfaultfd, and a front-end that is trusted: it gets power over this process.",
    };

    private static readonly Option<LogLevel> _logLevel = ToolOptions.Words(
        "--log-level", "What to tell on standard error: warning, the default, information (also what was served again for a back-end that was killed), debug (also each start and stop), or trace (each message).",
        ("warning", LogLevel.Warning), ("information", LogLevel.Information), ("debug", LogLevel.Debug), ("trace", LogLevel.Trace));

    internal static void AddTo(Command command)
    {
        AddAll(command, _socketPath);
        AddSharedTo(command);
        command.Validators.Add(CheckSocket);
    }

    /// <summary>Adds the options of a command that names its sockets in its own way.</summary>
    internal static void AddSharedTo(Command command) => AddAll(command, _descriptor, _client, _threads, _poll, _processors, _mode, _group, _iommu, _postcopy, _logLevel);

    /// <summary>Adds the options of a command whose device has a way of its own to serve its queues: those that choose threads are refused, with a reason.</summary>
    /// <param name="command">The command.</param>
    /// <param name="reason">Why there is nothing to choose.</param>
    internal static void AddWithoutThreadsTo(Command command, string reason)
    {
        AddAll(command, _socketPath, _descriptor, _client, _mode, _group, _iommu, _postcopy, _logLevel, Refused(reason));
        command.Validators.Add(CheckSocket);
    }

    internal static SocketSettings Read(ParseResult line) => new()
    {
        Path = line.GetValue(_socketPath)?.FirstOrDefault(),
        FurtherPaths = [.. (line.GetValue(_socketPath) ?? []).Skip(1)],
        Descriptor = line.GetValue(_descriptor),
        Client = line.GetValue(_client),
        Poll = line.GetValue(_poll),
        Threads = line.GetValue(_threads),
        Processors = line.GetValue(_processors) ?? [],
        Mode = line.GetValue(_mode),
        Group = line.GetValue(_group),
        Iommu = line.GetValue(_iommu),
        Postcopy = line.GetValue(_postcopy),
        LogLevel = line.GetResult(_logLevel) is null ? LogLevel.Warning : line.GetValue(_logLevel),
    };

    internal static bool Given(CommandResult result, Option option) => result.GetResult(option) is { Implicit: false };

    internal static bool IsDescriptorGiven(CommandResult result) => Given(result, _descriptor);

    /// <summary>How many sockets the command line names.</summary>
    internal static int Count(CommandResult result) => result.GetResult(_socketPath)?.Tokens.Count ?? 0;

    /// <summary>An option that says what is on each socket is given as often as there are sockets.</summary>
    internal static void RequireForEach(CommandResult result, Option option)
    {
        int times = result.GetResult(option)?.Tokens.Count ?? 0;
        int sockets = Math.Max(Count(result), 1);
        if (times > 0 && times != sockets)
            result.AddError(FormattableString.Invariant($"{option.Name} is given {times} times for {sockets} sockets: give one for each --socket-path."));
    }

    private static void AddAll(Command command, params ReadOnlySpan<Option> options)
    {
        foreach (Option option in options)
            command.Options.Add(option);
    }

    private static void CheckSocket(CommandResult result)
    {
        string[] paths = [.. result.GetResult(_socketPath)?.Tokens.Select(token => token.Value) ?? []];
        if (paths.Distinct(StringComparer.Ordinal).Count() != paths.Length)
            result.AddError("--socket-path: the same path is given twice.");
        if (Given(result, _socketPath) == IsDescriptorGiven(result))
            result.AddError("Give either --socket-path PATH or --fd N.");
        else
            CheckShared(result);
    }

    internal static void CheckShared(CommandResult result)
    {
        bool descriptor = IsDescriptorGiven(result);
        if (Given(result, _iommu) && Given(result, _postcopy))
            result.AddError("--iommu and --postcopy do not go together: give one of them.");
        if (descriptor && Given(result, _client))
            result.AddError("--client needs --socket-path: an inherited socket is listening or connected already.");
        else if ((descriptor || Given(result, _client)) && (Given(result, _mode) || Given(result, _group)))
            result.AddError("--socket-mode and --socket-group need a socket file of our own: --socket-path without --client.");
    }

    /// <summary>The options that choose threads, which are not told of where they are not taken.</summary>
    private static Option<string[]> Refused(string reason)
    {
        Option<string[]> option = new(_threads.Name, [_poll.Name, _processors.Name, .. _processors.Aliases]) { Hidden = true, Arity = ArgumentArity.ZeroOrMore };
        option.Validators.Add(result => result.AddError($"{_threads.Name}, {_poll.Name} and {_processors.Name}: {reason}."));
        return option;
    }

    private static Option<int?> Descriptor() => new("--fd")
    {
        Description = "Inherited socket to use, listening or connected.",
        HelpName = "N",
        CustomParser = argument =>
        {
            string text = argument.Tokens[0].Value;
            if (int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int number) && number > 2)
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
