using System.CommandLine;

namespace Vhost.Tool;

/// <summary>The tree of commands.</summary>
internal static class ToolCommand
{
    internal const string Name = "vhost-user";

    internal static RootCommand Build()
    {
        RootCommand root = new(
            "Probes, reads, writes, measures and serves vhost-user devices. Exit code: 0 success, 1 failure, 2 wrong command line.")
        {
            ProbeCommand.Build(),
            Block(),
            Net(),
            Serve(),
            new Option<bool>("--print-capabilities")
            {
                Description = "Print what 'serve blk' can do, as the vhost-user specification's back-end program conventions ask for, and exit.",
                Recursive = true,
            },
        };
        return root;
    }

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

    private static Command Serve() => new("serve", "Be the back-end of a device.")
    {
        ServeBlkCommand.Build(),
    };
}
