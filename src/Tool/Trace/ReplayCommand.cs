using System.CommandLine;
using Vhost.Protocol;
using Vhost.Proxy;

namespace Vhost.Tool;

/// <summary><c>vhost-user replay</c>: says again what one side of a recorded connection has said.</summary>
internal static class ReplayCommand
{
    private const int Differs = 1;

    private static readonly Argument<string> _file = new("FILE") { Description = "A recording of 'vhost-user trace --record'." };
    private static readonly Option<string> _socket = ToolOptions.Path("--socket", "Play the front-end, towards the back-end that listens here.");
    private static readonly Option<string> _socketPath = ToolOptions.Path("--socket-path", "Play the back-end: listen here, for one front-end.");
    private static readonly Option<int> _session = ToolOptions.Number("--connection", "Which connection of the recording.", 1, int.MaxValue, 1);
    private static readonly Option<int> _patience = ToolOptions.Number("--timeout", "Seconds that a message is waited for.", 1, 3600, 10);
    private static readonly Option<bool> _json = ToolOptions.Json();

    internal static Command Build()
    {
        Command command = new("replay", "Play one side of a recorded connection, and show the first message of the other side that is not what it was. Memory holds zeros, and rings stay empty. Exit code 1 where they differ.")
        {
            _file, _socket, _socketPath, _session, _patience, _json,
        };
        command.Validators.Add(static result =>
        {
            if (SocketOptions.Given(result, _socket) == SocketOptions.Given(result, _socketPath))
                result.AddError("Give either --socket PATH, to play the front-end, or --socket-path PATH, to play the back-end.");
        });
        command.SetAction(RunAsync);
        return command;
    }

    private static async Task<int> RunAsync(ParseResult line, CancellationToken stop)
    {
        IReadOnlyList<ProxyMessage> recording;
        using (StreamReader reader = File.OpenText(line.GetRequiredValue(_file)))
            recording = RecordingReader.Read(reader);
        ProxySide side = line.GetValue(_socket) is null ? ProxySide.BackEnd : ProxySide.FrontEnd;
        await using VhostUserConnection peer = await OpenAsync(line, stop);
        ReplayResult result = await Replayer.PlayAsync(recording, line.GetValue(_session), side, peer, TimeSpan.FromSeconds(line.GetValue(_patience)), stop);
        if (line.GetValue(_json))
            ToolOutput.PrintJson(ReplayReport.Of(result), ToolJson.Default.ReplayReport);
        else
            ToolOutput.PrintTable("Replay", Rows(result));
        return result.Difference is null ? 0 : Differs;
    }

    private static async Task<VhostUserConnection> OpenAsync(ParseResult line, CancellationToken stop)
    {
        if (line.GetValue(_socket) is { } socket)
            return await VhostUserConnection.ConnectAsync(socket, cancellationToken: stop);
        await using VhostUserListener listener = VhostUserListener.Listen(line.GetRequiredValue(_socketPath));
        return await listener.AcceptAsync(stop);
    }

    private static IEnumerable<(string Name, string Value)> Rows(ReplayResult result)
    {
        yield return ("Messages sent", FormattableString.Invariant($"{result.Played}"));
        yield return ("Messages that came as they had", FormattableString.Invariant($"{result.Compared}"));
        if (result.Difference is not { } difference)
        {
            yield return ("Difference", "none");
            yield break;
        }

        yield return ("First difference, at message", FormattableString.Invariant($"{difference.Number}"));
        yield return ("recorded", difference.Expected);
        yield return ("now", difference.Got);
    }
}
