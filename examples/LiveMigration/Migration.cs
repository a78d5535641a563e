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

    /// <summary>What happens before the guest goes on there.</summary>
    public Func<Task> BeforeArrival { get; set; } = () => Task.CompletedTask;

    /// <returns>For how long the rings stood still.</returns>
    /// <exception cref="Exception">The other host could not take the guest over, whatever the reason. The guest goes on where it was.</exception>
    public async Task<TimeSpan> RunAsync()
    {
        await memory.BeginAsync();

        // The guest stands still, then its device. What is under way is not waited for where the back-end can leave it to the next one.
        await guest.PauseAsync();
        long started = Stopwatch.GetTimestamp();
        FrontendSnapshot? stopped = null;
        TimeSpan comparing;
        try
        {
            stopped = await SuspendAsync();
            comparing = await SwitchAsync(stopped);
        }
        catch
        {
            await GoBackAsync(stopped);
            throw;
        }

        guest.Resume(destination.Ram);
        TimeSpan downtime = Stopwatch.GetElapsedTime(started) - comparing;
        await guest.VerifyAsync(destination.Device);
        await memory.EndAsync();
        return downtime;
    }

    /// <summary>What the other host is told about the device is damaged on the way.</summary>
    public Task DamageAsync()
    {
        _snapshot[^1] ^= 1;
        return Task.CompletedTask;
    }

    /// <summary>The device goes on there with another back-end than the one that began.</summary>
    public async Task RecoverAsync()
    {
        await destination.Device.LoadDeviceStateAsync(new MemoryStream(_state));
        await destination.RecoverAsync(guest, FrontendSnapshot.Parse(_snapshot));
    }

    /// <summary>Nobody writes any more: the last pages, or which of them are still to come, and what the device itself knows. Then on the other host everything is as it was here.</summary>
    /// <returns>The time that only this example needs.</returns>
    private async Task<TimeSpan> SwitchAsync(FrontendSnapshot stopped)
    {
        _snapshot = stopped.ToBytes();
        await memory.SwitchAsync();
        _state = await SaveStateAsync();
        long started = Stopwatch.GetTimestamp();
        BytesVerified = memory.Compare();
        TimeSpan comparing = Stopwatch.GetElapsedTime(started);
        await BeforeArrival();
        await destination.Device.LoadDeviceStateAsync(new MemoryStream(_state));
        await destination.ResumeAsync(guest, FrontendSnapshot.Parse(_snapshot));
        return comparing;
    }

    private async Task<FrontendSnapshot> SuspendAsync() => (await source.Device.SuspendAsync()) with { IsLogging = false }; // the log was for this migration

    /// <summary>As if nothing had been. The other back-end must have ended before this one works again: both have the same disk.</summary>
    /// <param name="stopped">Null: a ring could not be stopped. Those that were stopped before it are in the next snapshot.</param>
    private async Task GoBackAsync(FrontendSnapshot? stopped)
    {
        await memory.DisposeAsync();
        await destination.DisposeAsync();
        await source.ResumeAsync(guest, stopped ?? await SuspendAsync());
        if (source.Device.IsLogging)
            await source.Device.StopLoggingAsync();
        guest.Resume(source.Ram);
    }

    private async Task<byte[]> SaveStateAsync()
    {
        using MemoryStream state = new(); // between two hosts a connection
        Console.WriteLine($"state of the device: {await source.Device.SaveDeviceStateAsync(state)} bytes");
        return state.ToArray();
    }
}
