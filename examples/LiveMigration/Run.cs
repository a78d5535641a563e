using Vhost.Protocol;

namespace LiveMigration;

/// <summary>One variant from its beginning to its end.</summary>
internal static class Run
{
    /// <summary>What the guest gets done on each host, at least.</summary>
    private const long Work = 8 << 20;

    public static async Task MigrateAsync(string kind, string folder, bool postcopy, bool loses, bool goesBack, bool damages)
    {
        string image = Path.Combine(folder, "disk.img");
        await using (FileStream file = File.Create(image))
            file.SetLength(DiskGuest.DiskSize);
        GuestRam ram = new();
        using Guest guest = kind == "disk" ? new DiskGuest(ram) : new NetGuest(ram);
        await using Host source = await Host.StartAsync(new BackendProgram(kind, Path.Combine(folder, "source.sock"), image, Postcopy: false), guest, ram);
        await using Host destination = await Host.StartAsync(new BackendProgram(kind, Path.Combine(folder, "destination.sock"), image, postcopy), guest, new GuestRam());
        using Guest ends = guest; // before its memory goes, whatever happens
        await source.BeginAsync(guest);
        await guest.WorkedAsync(Work);

        await using MemoryTransfer memory = postcopy ? new Postcopy(source, destination, guest) : new Precopy(source, destination);
        Migration migration = new(guest, source, destination, memory);
        if (loses && memory is Postcopy afterwards)
            afterwards.InTheMiddle = () => LostBackend.ReplaceAsync(guest, destination, afterwards, migration);
        if (goesBack)
            migration.BeforeArrival = destination.KillBackendAsync;
        if (damages)
            migration.BeforeArrival = migration.DamageAsync;
        try
        {
            TimeSpan downtime = await migration.RunAsync();
            await source.DisposeAsync(); // whoever was there before is not needed any more
            await FinishAsync("ok", guest, migration, $"downtime_ms={downtime.TotalMilliseconds:0.0} variant={kind}");
        }
        catch (Exception e) when ((goesBack && e is VhostUserException) || (damages && e is InvalidDataException))
        {
            Console.WriteLine($"the guest goes on where it was: {e.Message}");
            await FinishAsync("gone back", guest, migration, $"variant={kind}");
        }
    }

    private static async Task FinishAsync(string outcome, Guest guest, Migration migration, string more)
    {
        await guest.WorkedAsync(guest.BytesVerified + Work);
        long verified = guest.Finish() + migration.BytesVerified;
        Console.WriteLine($"migration: {outcome} bytes_verified={verified} {more}");
    }
}
