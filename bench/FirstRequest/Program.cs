// How long a test waits for its device: connect, negotiate, share memory, start one queue and do the first request, both halves in this process over
// a socket. The first rounds, in which code is still being compiled, are left out and printed apart.
using System.Diagnostics;
using System.Globalization;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;

const int WarmUpRounds = 50;
const int Rounds = 200;
const double GoalMilliseconds = 5;

string path = Path.Combine(Path.GetTempPath(), $"vhost-first-{Environment.ProcessId}.sock");
using MemoryStorage storage = new(16 << 20);
await using VhostUserBackend backend = new(new BlockDevice(storage));
using CancellationTokenSource stop = new();
await using VhostUserListener listener = VhostUserListener.Listen(path);
Task serving = backend.ListenAsync(listener, stop.Token);

double first = await FirstRequestAsync();
for (int i = 1; i < WarmUpRounds; i++)
    await FirstRequestAsync();
double[] milliseconds = new double[Rounds];
for (int i = 0; i < Rounds; i++)
    milliseconds[i] = await FirstRequestAsync();
await stop.CancelAsync();
await serving;

Array.Sort(milliseconds);
double median = milliseconds[Rounds / 2];
Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"first of the process {first:0.0} ms, shortest {milliseconds[0]:0.00} ms, longest {milliseconds[^1]:0.00} ms"));
Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"first-request: median_ms={median:0.00} rounds={Rounds} goal_ms={GoalMilliseconds:0}"));
return median < GoalMilliseconds ? 0 : 1;

async Task<double> FirstRequestAsync()
{
    byte[] block = new byte[4096];
    long started = Stopwatch.GetTimestamp();
    await using BlockClient disk = await BlockClient.ConnectAsync(path);
    await disk.ReadAsync(0, block);
    return Stopwatch.GetElapsedTime(started).TotalMilliseconds;
}
