using System.CommandLine;
using Vhost.Frontend;

namespace Vhost.Tool;

/// <summary>What <c>blk info --json</c> prints.</summary>
internal sealed record BlockInfoReport
{
    public required string Socket { get; init; }

    /// <summary>The device's name for itself; absent when it has none.</summary>
    public string? Id { get; init; }

    public required BlockConfigReport Config { get; init; }

    public required NegotiationReport Negotiation { get; init; }
}

/// <summary><c>vhost-user blk info</c>: what kind of disk it is.</summary>
internal static class BlkInfoCommand
{
    internal static Command Build()
    {
        Option<string> socket = ToolOptions.Socket();
        Option<bool> json = ToolOptions.Json();
        Command command = new("info", "Show size, limits and name of the disk.") { socket, json };
        command.SetAction((line, stop) => RunAsync(line.GetRequiredValue(socket), line.GetValue(json), stop));
        return command;
    }

    private static async Task<int> RunAsync(string socket, bool json, CancellationToken stop)
    {
        await using BlockClient disk = await BlockClient.ConnectAsync(socket, cancellationToken: stop);
        BlockInfoReport report = new()
        {
            Socket = socket,
            Id = await ReadIdAsync(disk, stop),
            Config = BlockConfigReport.From(disk.Config, disk.Features),
            Negotiation = NegotiationReport.From(disk.Summary),
        };
        if (json)
        {
            ToolOutput.PrintJson(report, ToolJson.Default.BlockInfoReport);
            return 0;
        }

        ToolOutput.PrintTable($"Disk on {socket}", report.Config.Rows().Prepend(("name", Printable(report.Id) ?? "none")));
        ToolOutput.PrintTable("Negotiation", disk.Summary.Describe());
        return 0;
    }

    // The back-end chooses the name; on a terminal it must not be more than text.
    private static string? Printable(string? id) =>
        id is null ? null : string.Create(id.Length, id, static (text, from) =>
        {
            for (int i = 0; i < text.Length; i++)
                text[i] = char.IsControl(from[i]) ? '?' : from[i];
        });

    private static async Task<string?> ReadIdAsync(BlockClient disk, CancellationToken stop)
    {
        try
        {
            return await disk.GetIdAsync(stop);
        }
        catch (BlockRequestException)
        {
            return null;
        }
    }
}
