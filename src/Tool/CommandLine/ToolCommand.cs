using System.CommandLine;

namespace Vhost.Tool;

/// <summary>The tree of commands.</summary>
internal static class ToolCommand
{
    internal const string Name = "vhost-user";

    internal const string ServeName = "serve";

    private const string CapabilitiesName = "--print-capabilities";

    internal static RootCommand Build()
    {
        RootCommand root = new(
            "Probes, reads, writes, measures, serves and watches vhost-user devices. Exit code: 0 success, 1 failure, 2 wrong command line; test and test-frontend have more.")
        {
            ProbeCommand.Build(),
            Block(),
            Net(),
            Serve(),
            TraceCommand.Build(),
            ReplayCommand.Build(),
            TestCommand.Build(),
            TestFrontendCommand.Build(),
            DescribeCommand.Build(),
            Capabilities("Print what 'serve blk' can do, as the vhost-user specification's back-end program conventions ask for, and exit."),
        };
        return root;
    }

    /// <summary>
    /// The answer to a command line that asks for the capabilities of a device; null for any other. The conventions want all other options ignored. A management program
    /// knows the program alone, so without a command the answer is that of the disk.
    /// </summary>
    internal static CapabilitiesReport? CapabilitiesAskedFor(string[] arguments)
    {
        if (!arguments.Contains(CapabilitiesName, StringComparer.Ordinal))
            return null;
        return arguments switch
        {
            [ServeName, var device, ..] => ServedDevice.ByCommand(device)?.Capabilities,
            [var first, ..] when first.StartsWith('-') => CapabilitiesReport.Block,
            _ => null,
        };
    }

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
        ServeRngCommand.Build(),
        ServeConsoleCommand.Build(),
        ServeSwitchCommand.Build(),
    };
}
