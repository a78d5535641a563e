using System.CommandLine;
using System.CommandLine.Parsing;
using Vhost.Proxy;

namespace Vhost.Tool;

/// <summary><c>vhost-user trace</c>: stands between a front-end and a back-end and shows what they say.</summary>
internal static class TraceCommand
{
    private static readonly Option<string> _listen = ToolOptions.Path("--listen", "Socket to listen on: give it to the front-end in place of the back-end's.", required: true);
    private static readonly Option<string> _connect = ToolOptions.Path("--connect", "Socket on which the other side listens: the back-end.", required: true);
    private static readonly Option<bool> _backEndConnects = new("--back-end-connects") { Description = "The other way round: a back-end that is a client connects to --listen, and the front-end listens on --connect." };
    private static readonly Option<string> _record = ToolOptions.Path("--record", "Write all messages to this file, for 'vhost-user replay'.");
    private static readonly Option<string> _pcap = ToolOptions.Path("--pcap", "Write all messages to this pcapng file, for Wireshark.");
    private static readonly Option<FaultRule[]> _faults = Faults();
    private static readonly Option<bool> _once = new("--once") { Description = "End with the first connection." };
    private static readonly Option<bool> _json = new("--json") { Description = "Print each message and each summary as a JSON object on one line." };

    internal static Command Build()
    {
        Command command = new("trace", "Stand between a front-end and a back-end, and show, record or change what they say. SIGTERM and Ctrl-C end it.")
        {
            _listen, _connect, _backEndConnects, _record, _pcap, _faults, _once, _json,
        };
        command.SetAction(RunAsync);
        return command;
    }

    private static async Task<int> RunAsync(ParseResult line, CancellationToken stop)
    {
        using TraceOutput output = TraceOutput.Open(line.GetValue(_record), line.GetValue(_pcap), line.GetValue(_json));
        VhostUserProxy proxy = new(new VhostUserProxyOptions { Faults = line.GetValue(_faults) ?? [], Observer = output.Show });
        using CancellationTokenSource ends = CancellationTokenSource.CreateLinkedTokenSource(stop);
        bool once = line.GetValue(_once);
        try
        {
            ProxySide connects = line.GetValue(_backEndConnects) ? ProxySide.BackEnd : ProxySide.FrontEnd;
            await proxy.ServeAsync(line.GetRequiredValue(_listen), line.GetRequiredValue(_connect), connects, End, ends.Token);
        }
        catch (OperationCanceledException) when (ends.IsCancellationRequested)
        {
            // As it was asked to.
        }

        return 0;

        void End(ProxySummary summary)
        {
            output.Show(summary);
            if (once)
                ends.Cancel();
        }
    }

    private static Option<FaultRule[]> Faults() => new("--fault")
    {
        Description = $"What is done to a message: ACTION@MESSAGE, for example drop@SET_VRING_CALL#2, delay=50@GET_CONFIG:reply or set=0:ff@backend:SHMEM_MAP. Actions: {FaultRule.Actions}. More than once: in this order. docs/trace.md says more.",
        HelpName = "RULE",
        Arity = ArgumentArity.OneOrMore,
        CustomParser = static argument =>
        {
            List<FaultRule> rules = [];
            foreach (Token token in argument.Tokens)
            {
                try
                {
                    rules.Add(FaultRule.Parse(token.Value));
                }
                catch (FormatException e)
                {
                    argument.AddError($"--fault {e.Message}");
                }
            }

            return [.. rules];
        },
    };
}
