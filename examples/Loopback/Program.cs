// Both halves of the library in one process, over a socket pair. They share nothing but descriptors: the front-end's memory is mapped a second
// time by the back-end, at another address, and eventfds carry the notifications. What works here works between two processes.
using Loopback;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;

const long ImageSize = 64 << 20;

string path = Path.Combine(Path.GetTempPath(), $"vhost-loopback-{Environment.ProcessId}.img");
try
{
    using (FileStream image = File.Create(path))
        image.SetLength(ImageSize);

    // The back-end: a device over the image, served on one end of the socket pair.
    using FileStorage storage = FileStorage.Open(path);
    await using VhostUserBackend backend = new(new BlockDevice(storage));
    (VhostUserConnection frontEnd, VhostUserConnection backEnd) = VhostUserConnection.CreatePair();
    Task serving = backend.ServeAsync(backEnd);

    // The front-end: negotiates, shares memory, starts the ring.
    long verified;
    await using (BlockClient disk = await BlockClient.StartAsync(frontEnd))
    {
        Console.WriteLine(disk.Summary);
        Console.WriteLine($"disk                 {disk.CapacityBytes >> 20} MiB in blocks of {disk.BlockSize}, id \"{await disk.GetIdAsync()}\"");

        verified = await Verification.RunAsync(disk, seed: 20240);
        Console.WriteLine($"verified             {verified} bytes written and read back");
    }

    await serving;

    // Rates: once more from the start, with the front-end and the back-end polling.
    Rates rates = await Measurement.RunAsync(new BlockDevice(storage));
    Console.WriteLine($"loopback: ok transport=unix-socketpair bytes_verified={verified} iops={rates.Iops:0} p50_us={rates.MedianMicroseconds:0.0}");
    return 0;
}
finally
{
    File.Delete(path);
}
