using System.Diagnostics;
using System.IO.Pipelines;
using Vhost.Frontend;

namespace LiveMigration;

/// <summary>The steps of a migration, in their order (docs/migration.md).</summary>
internal static class Migration
{
    /// <summary>The memory that both hosts have the same of.</summary>
    public const long RamVerified = (long)GuestRam.Size;

    public static async Task<TimeSpan> RunAsync(Guest guest, Host source, Host destination, Precopy memory)
    {
        await memory.BeginAsync();

        // The guest stands still, then its device. What is under way is not waited for where the back-end can leave it to the next one.
        await guest.PauseAsync();
        long started = Stopwatch.GetTimestamp();
        FrontendSnapshot stopped = await source.Device.SuspendAsync();
        byte[] snapshot = (stopped with { IsLogging = false }).ToBytes(); // the log was for this migration

        // Nobody writes any more: the last pages, and what the device itself knows.
        await memory.EndAsync();
        await MoveStateAsync(source.Device, destination.Device);

        // On the other host everything is as it was here. If anything fails up to this point, source.Device.ResumeAsync and guest.Resume(source.Ram) go on as if nothing had been.
        TimeSpan downtime = Stopwatch.GetElapsedTime(started);
        RequireSameMemory(source.Ram, destination.Ram);
        started = Stopwatch.GetTimestamp();
        await destination.Device.ResumeAsync(FrontendSnapshot.Parse(snapshot), ring => Host.Attach(guest, ring));
        guest.Resume(destination.Ram);
        downtime += Stopwatch.GetElapsedTime(started);
        await guest.VerifyAsync(destination.Device);
        return downtime;
    }

    private static async Task MoveStateAsync(VhostUserFrontend from, VhostUserFrontend to)
    {
        Pipe way = new(); // between two hosts a socket
        ValueTask<long> loading = to.LoadDeviceStateAsync(way.Reader);
        long bytes = await from.SaveDeviceStateAsync(way.Writer);
        await way.Writer.CompleteAsync();
        await loading;
        Console.WriteLine($"state of the device: {bytes} bytes");
    }

    /// <summary>No migration does this; it is what this example is for.</summary>
    private static void RequireSameMemory(GuestRam here, GuestRam there)
    {
        byte[] a = new byte[64 << 10];
        byte[] b = new byte[a.Length];
        for (ulong at = 0; at < GuestRam.Size; at += (ulong)a.Length)
        {
            here.Read(at, a);
            there.Read(at, b);
            if (!a.AsSpan().SequenceEqual(b))
                throw new InvalidOperationException($"Memory at 0x{at:x} is not what it was: somebody wrote there and did not say so.");
        }
    }
}
