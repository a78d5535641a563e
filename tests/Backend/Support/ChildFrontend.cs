using System.Globalization;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>
/// A front-end in a process of its own: this assembly, started as a program. It connects, goes some steps, says so, and then waits to be killed.
/// </summary>
internal static class ChildFrontend
{
    /// <summary>What it prints when it has gone its steps.</summary>
    public const string Ready = "ready";

    /// <summary>In place of a number of steps: all up to the running ring, and then requests without end.</summary>
    public const int Busy = -1;

    /// <summary>What the runtime opens for the first child of a process, and keeps, must not look like a leak.</summary>
    public static Task PrepareAsync() => ChildProcess.RunAsync("true");

    public static ChildProcess Start(string socketPath, int steps) =>
        ChildProcess.Start("dotnet", typeof(ChildFrontend).Assembly.Location, socketPath, steps.ToString(CultureInfo.InvariantCulture));

    /// <summary>The program.</summary>
    public static async Task Main(string[] arguments)
    {
        int steps = int.Parse(arguments[1], CultureInfo.InvariantCulture);
        using TestGuest guest = new();
        using TestRing ring = new(guest, 0);
        await using RawFrontend frontend = await RawFrontend.ConnectAsync(arguments[0]);
        if (steps == Busy)
            await KeepBusyAsync(frontend, guest, ring);
        foreach (Func<Task> step in FrontendSteps.All(frontend, guest, ring).Take(steps))
            await step();
        Console.WriteLine(Ready);
        await Task.Delay(Timeout.Infinite);
    }

    private static async Task KeepBusyAsync(RawFrontend frontend, TestGuest guest, TestRing ring)
    {
        await frontend.NegotiateAsync();
        await frontend.AddMemoryAsync(guest);
        await frontend.StartAsync(ring);
        while (true)
        {
            for (byte i = 0; i < TestRing.Size / 2; i++)
                ring.Submit(i);
            ring.Kick.Signal();
            await ring.AllUsedAsync();
        }
    }
}
