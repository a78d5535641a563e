// A front-end that measures what is beside the data path, against any block back-end that listens. Prints one JSON object.
//
//   messages|handshake|reconnect|regions --socket PATH [--seconds N] [--regions N]
//   crowd --socket PREFIX --count N --good|--bad     until SIGTERM
using System.Globalization;
using System.Runtime.InteropServices;
using Vhost.Bench.Control;
using Vhost.Protocol;

string? socket = Option("--socket");
if (args.Length == 0 || socket is null || !TryNumber("--seconds", 3, out int seconds) || !TryNumber("--regions", 1, out int regions) || !TryNumber("--count", 64, out int count))
{
    await Console.Error.WriteLineAsync("messages|handshake|reconnect|regions --socket PATH [--seconds N] [--regions N], or crowd --socket PREFIX --count N --good|--bad");
    return 2;
}

using CancellationTokenSource stop = new();
using PosixSignalRegistration terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, context =>
{
    context.Cancel = true;
    stop.Cancel();
});
TimeSpan interval = TimeSpan.FromSeconds(seconds);
try
{
    string? result = args[0] switch
    {
        "messages" => await MessageTimes.MeasureAsync(socket, interval),
        "handshake" => await SessionTimes.HandshakeAsync(socket, interval),
        "reconnect" => await SessionTimes.ReconnectAsync(socket, interval),
        "regions" => await RegionRate.MeasureAsync(socket, regions, interval),
        "crowd" => Crowd.Run(socket, count, bad: args.Contains("--bad"), stop.Token),
        _ => null,
    };
    Console.WriteLine(result ?? $"'{args[0]}' is not known.");
    return result is null ? 2 : 0;
}
catch (Exception failure) when (failure is VhostUserException or InvalidOperationException)
{
    await Console.Error.WriteLineAsync(failure.Message);
    return 1;
}

string? Option(string name) => Array.IndexOf(args, name) is >= 0 and int at && at + 1 < args.Length ? args[at + 1] : null;

bool TryNumber(string name, int standard, out int value)
{
    value = standard;
    return Option(name) is not { } text || int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out value);
}
