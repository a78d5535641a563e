// A guest at work moves from one host to another, and its device with it: a disk, and then a network card. Both hosts are this process; each has memory of its own and a back-end in a process of its own.
//
//   dotnet run -c Release --project examples/LiveMigration [disk|net]
//
// The last line of each variant says how many bytes were compared, and for how long the guest stood still.
using LiveMigration;

if (args is ["back-end", ..])
    return await BackendProgram.RunAsync(args[1], args[2], args[3]);

foreach (string variant in args.Length > 0 ? args : ["disk", "net"])
{
    Console.WriteLine($"-- {variant}");
    string folder = Directory.CreateTempSubdirectory("migration").FullName;
    try
    {
        string image = Path.Combine(folder, "disk.img");
        await using (FileStream file = File.Create(image))
            file.SetLength(DiskGuest.DiskSize);
        GuestRam ram = new();
        using Guest guest = variant == "disk" ? new DiskGuest(ram) : new NetGuest(ram);
        await using Host source = await Host.StartAsync(variant, Path.Combine(folder, "source.sock"), image, guest, ram);
        await using Host destination = await Host.StartAsync(variant, Path.Combine(folder, "destination.sock"), image, guest, new GuestRam());
        await source.BeginAsync(guest);
        await guest.WorkedAsync(8 << 20);

        TimeSpan downtime = await Migration.RunAsync(guest, source, destination, new Precopy(source, destination));

        await source.DisposeAsync(); // whoever was there before is not needed any more
        long before = guest.BytesVerified;
        await guest.WorkedAsync(before + (8 << 20));
        long verified = guest.Finish() + Migration.RamVerified;
        Console.WriteLine($"migration: ok variant={variant} bytes_verified={verified} downtime_ms={downtime.TotalMilliseconds:0.0}");
    }
    finally
    {
        Directory.Delete(folder, recursive: true);
    }
}

return 0;
