using System.Diagnostics;
using Vhost.Frontend;

namespace LiveMigration;

/// <summary>The steps of a migration, in their order (docs/migration.md).</summary>
internal sealed class Migration(Guest guest, Host source, Host destination, MemoryTransfer memory)
{
    private byte[] _snapshot = [];
    private byte[] _state = [];

    /// <summary>Bytes that both hosts had the same of when the guest went from one to the other.</summary>
    public long BytesVerified { get; private set; }

    /// <returns>For how long the rings stood still.</returns>
    public async Task<TimeSpan> RunAsync()
    {
        await memory.BeginAsync();

        // The guest stands still, then its device. What is under way is not waited for where the back-end can leave it to the next one.
        await guest.PauseAsync();
        long started = Stopwatch.GetTimestamp();
        FrontendSnapshot stopped = await source.Device.SuspendAsync();
        _snapshot = (stopped with { IsLogging = false }).ToBytes(); // the log was for this migration

        // Nobody writes any more: the last pages, or which of them are still to come, and what the device itself knows.
        await memory.SwitchAsync();
        _state = await SaveStateAsync();

        // On the other host everything is as it was here. If anything fails up to this point, source.Device.ResumeAsync and guest.Resume(source.Ram) go on as if nothing had been.
        TimeSpan downtime = Stopwatch.GetElapsedTime(started);
        BytesVerified = memory.Compare();
        started = Stopwatch.GetTimestamp();
        await ResumeAsync();
        guest.Resume(destination.Ram);
        downtime += Stopwatch.GetElapsedTime(started);
        await guest.VerifyAsync(destination.Device);
        await memory.EndAsync();
        return downtime;
    }

    /// <summary>The device goes on there with another back-end than the one that began.</summary>
    public async Task RecoverAsync()
    {
        await destination.Device.LoadDeviceStateAsync(new MemoryStream(_state));
        await destination.RecoverAsync(guest, FrontendSnapshot.Parse(_snapshot));
    }

    private async Task ResumeAsync()
    {
        await destination.Device.LoadDeviceStateAsync(new MemoryStream(_state));
        await destination.ResumeAsync(guest, FrontendSnapshot.Parse(_snapshot));
    }

    private async Task<byte[]> SaveStateAsync()
    {
        using MemoryStream state = new(); // between two hosts a connection
        Console.WriteLine($"state of the device: {await source.Device.SaveDeviceStateAsync(state)} bytes");
        return state.ToArray();
    }
}
