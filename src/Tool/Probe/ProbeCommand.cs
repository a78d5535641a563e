using System.CommandLine;
using Vhost.Frontend;
using Vhost.Protocol;

namespace Vhost.Tool;

/// <summary><c>vhost-user probe</c>: negotiates with a back-end and says what came of it. No ring is started and nothing is written.</summary>
internal static class ProbeCommand
{
    private const int MostQueues = 256;
    private const uint MostBlockSize = 1 << 16;

    internal static Command Build()
    {
        Option<string> socket = ToolOptions.Socket();
        Option<bool> json = ToolOptions.Json();
        Command command = new("probe", "Negotiate with a back-end and show the result.") { socket, json };
        command.SetAction((line, stop) => RunAsync(line.GetRequiredValue(socket), line.GetValue(json), stop));
        return command;
    }

    private static async Task<int> RunAsync(string socket, bool json, CancellationToken stop)
    {
        (NegotiationSummary summary, ProbeReport report) = await ProbeAsync(socket, stop);
        if (json)
        {
            ToolOutput.PrintJson(report, ToolJson.Default.ProbeReport);
            return 0;
        }

        ToolOutput.PrintTable($"Back-end on {socket}", summary.Describe());
        ToolOutput.PrintTable("Protocol features", report.ProtocolBits.Select(static bit => bit.Row()));
        if (report.Block is { } block)
            ToolOutput.PrintTable("Configuration space, read as a block device", block.Rows());
        else
            ToolOutput.PrintLine(report.ConfigHex is { } hex ? $"Configuration space (no block device): {hex}" : "Configuration space: none");
        return 0;
    }

    private static async Task<(NegotiationSummary Summary, ProbeReport Report)> ProbeAsync(string socket, CancellationToken stop)
    {
        VhostUserFrontendOptions options = new() { Queues = MostQueues };
        options = options with { WantedFeatures = options.WantedFeatures | VirtioFeatures.InOrder };
        await using VhostUserFrontend frontend = await VhostUserFrontend.ConnectAsync(socket, options, stop);
        byte[]? bytes = await ReadConfigAsync(frontend, stop);
        BlockConfigReport? block = bytes is null ? null : AsBlock(bytes, frontend.OfferedFeatures);
        NegotiationSummary summary = frontend.Summary;
        if (block is not null)
            summary = summary with { FeatureName = FeatureNames.OfBlockBit };
        ProbeReport report = new()
        {
            Socket = socket,
            Negotiation = NegotiationReport.From(summary),
            ProtocolBits = ProtocolBitReport.Of(summary.OfferedProtocolFeatures, summary.AcknowledgedProtocolFeatures),
            ConfigHex = bytes is null ? null : Convert.ToHexStringLower(bytes),
            Block = block,
        };
        return (summary, report);
    }

    /// <summary>The longest window that the back-end lets us read: it may refuse, but not shorten, one.</summary>
    private static async Task<byte[]?> ReadConfigAsync(VhostUserFrontend frontend, CancellationToken stop)
    {
        if ((frontend.ProtocolFeatures & VhostUserProtocolFeatures.Config) == 0)
            return null;
        foreach (int length in (int[])[VirtioBlkConfig.ClassicSize, 24, 12, 8])
        {
            byte[] bytes = new byte[length];
            try
            {
                await frontend.ReadConfigAsync(0, bytes, stop);
                return bytes;
            }
            catch (VhostUserRejectedException)
            {
                // Too long for this device.
            }
        }

        return null;
    }

    /// <summary>The protocol does not tell the type of a device; what cannot be a disk is not shown as one.</summary>
    private static BlockConfigReport? AsBlock(byte[] bytes, VirtioFeatures offered)
    {
        VirtioBlkFeatures features = (VirtioBlkFeatures)((ulong)offered & 0xFF_FFFF);
        if (bytes.Length < VirtioBlkConfig.ClassicSize || !VirtioBlkConfig.TryRead(bytes, out VirtioBlkConfig config))
            return null;
        bool plausible = config.Capacity is > 0 and < 1UL << 54
            && ((features & VirtioBlkFeatures.BlockSize) == 0 || (config.BlockSize is >= 512 and <= MostBlockSize && uint.IsPow2(config.BlockSize)));
        return plausible ? BlockConfigReport.From(config, features) : null;
    }
}
