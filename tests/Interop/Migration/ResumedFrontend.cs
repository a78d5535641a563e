using System.Globalization;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Migration;

/// <summary>A front-end in a process of its own (this assembly, started as a program): it goes on from a snapshot in a file, with guest memory in another one, and ends when so many requests were answered.</summary>
internal static class ResumedFrontend
{
    /// <summary>The first argument of such a process.</summary>
    internal const string Word = "resume";

    internal static ChildProcess Start(string socket, string snapshot, string ram, int requests) =>
        ChildProcess.Start("dotnet", typeof(ResumedFrontend).Assembly.Location, Word, socket, snapshot, ram, requests.ToString(CultureInfo.InvariantCulture));

    /// <summary>The program.</summary>
    internal static async Task RunAsync(string socket, string snapshot, string ram, int requests)
    {
        using SharedMemory file = SharedMemory.CreateFileBacked(ram, SnapshotTests.RamSize);
        using GuestMemory memory = GuestMemory.Create(new GuestMemoryRegion(default, file));
        using EventNotifier kick = new();
        using EventNotifier call = new();
        FrontendSnapshot stopped = FrontendSnapshot.Parse(await File.ReadAllBytesAsync(snapshot));
        await using VhostUserFrontend session = await VhostUserFrontend.ConnectAsync(socket, SnapshotTests.Options with { Connect = new VhostUserConnectOptions { RetryFor = Eventually.Deadline } });
        await session.SetMemoryAsync(memory);
        IReadOnlyList<FrontendVring> rings = await session.ResumeAsync(stopped, ring => ring with { Kick = kick, Call = call });
        await Eventually.TrueAsync(() => UsedOf(memory, rings[0].Settings) == (ushort)requests);
        FrontendSnapshot again = await session.SuspendAsync();
        await Console.Out.WriteLineAsync(string.Create(CultureInfo.InvariantCulture, $"logging={stopped.IsLogging} base={again.Rings[0].Base?.AvailableIndex}"));
    }

    private static ushort UsedOf(GuestMemory memory, VringSettings ring)
    {
        using GuestMemoryLease lease = memory.Acquire();
        lease.TryRead(new GuestAddress(ring.UsedRing.Value + 2), out ushort used);
        return used;
    }
}
