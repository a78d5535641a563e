using System.Diagnostics;
using System.Globalization;
using Vhost.Backend;
using Vhost.Interop.Tests.Migration;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>
/// A back-end in a process of its own: this assembly, started as a program. It connects to the front-end, serves one queue with a <see cref="RecordingDevice"/>, and kills itself
/// (SIGKILL) at a step that is named by its number; or waits to be killed.
/// </summary>
/// <remarks>
/// A step is a store into the in-flight area, those of the recovery too, the publication of a batch, or a point in the device: a request taken, executed and recorded, given back.
/// Between two of them nothing is written that outlives the process, but for used elements that the driver cannot see yet.
/// </remarks>
internal static class CrashBackend
{
    /// <summary>In place of the number of a step: it does not kill itself.</summary>
    internal const int Never = 0;

    internal static ChildProcess Start(string socketPath, string record, int life, int dieAt) => ChildProcess.Start(
        "dotnet", typeof(CrashBackend).Assembly.Location, socketPath, record, life.ToString(CultureInfo.InvariantCulture), dieAt.ToString(CultureInfo.InvariantCulture));

    /// <summary>The program: a back-end, or a front-end that goes on from a snapshot.</summary>
    public static async Task Main(string[] arguments)
    {
        if (arguments[0] == ResumedFrontend.Word)
        {
            await ResumedFrontend.RunAsync(arguments[1], arguments[2], arguments[3], int.Parse(arguments[4], CultureInfo.InvariantCulture));
            return;
        }

        int life = int.Parse(arguments[2], CultureInfo.InvariantCulture);
        int left = int.Parse(arguments[3], CultureInfo.InvariantCulture);
        void Step()
        {
            if (left > 0 && --left == 0)
                Die();
        }

        using RecordingDevice device = new(arguments[1], life, Step);
        await using VhostUserBackend backend = new(device, new VhostUserBackendOptions { Dispatch = QueueDispatch.DedicatedThread, InflightStored = Step });
        await backend.ConnectAsync(arguments[0]);
    }

    /// <summary>Does not return: the signal is there before the call is over.</summary>
    private static void Die()
    {
        using Process self = Process.GetCurrentProcess();
        self.Kill();
        Thread.Sleep(Timeout.Infinite);
    }
}
