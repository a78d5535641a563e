using System.CommandLine;

namespace Vhost.Tool;

/// <summary>The tree of commands.</summary>
internal static class ToolCommand
{
    internal const string Name = "vhost-user";

    private const string CapabilitiesName = "--print-capabilities";
    private const string ServeName = "serve";

    internal static RootCommand Build()
    {
        RootCommand root = new(
            "Probes, reads, writes, measures and serves vhost-user devices. Exit code: 0 success, 1 failure, 2 wrong command line.")
        {
            ProbeCommand.Build(),
            Block(),
            Net(),
            Serve(),
            Capabilities("Print what 'serve blk' can do, as the vhost-user specification's back-end program conventions ask for, and exit."),
        };
        return root;
    }

    /// <summary>
    /// Whether the answer to the command line is <see cref="CapabilitiesReport"/>: the conventions want all other options ignored. A management program
    /// knows the program alone, so it needs no command either.
    /// </summary>
    internal static bool AsksForCapabilities(string[] arguments) =>
        arguments.Contains(CapabilitiesName, StringComparer.Ordinal) && (arguments[0].StartsWith('-') || arguments is [ServeName, ServeBlkCommand.Name, ..]);

    internal static Option<bool> Capabilities(string description) => new(CapabilitiesName) { Description = description };

    private static Command Block() => new("blk", "Use a vhost-user block device.")
    {
        BlkInfoCommand.Build(),
        BlkReadCommand.Build(),
        BlkWriteCommand.Build(),
        BlkVerifyCommand.Build(),
        BlkBenchCommand.Build(),
    };

    private static Command Net() => new("net", "Use or be a vhost-user network device.")
    {
        NetBenchCommand.Build(),
    };

    private static Command Serve() => new(ServeName, "Be the back-end of a device.")
    {
        ServeBlkCommand.Build(),
    };
}
