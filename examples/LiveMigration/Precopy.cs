using Vhost.Protocol;

namespace LiveMigration;

/// <summary>While the guest runs all of memory is copied, and then again what was written meanwhile, until little is left; the rest while the guest stands still.</summary>
internal sealed class Precopy(Host source, Host destination) : MemoryTransfer(source, destination)
{
    private const int MostPasses = 30;
    private const ulong LittleLeft = 64 * DirtyLog.PageSize;
    private const ulong Piece = 64 << 10;

    public override async Task BeginAsync()
    {
        await Destination.Device.SetMemoryAsync(Destination.Ram.Memory);
        await StartLoggingAsync();
        Copy(new DirtyRun(0, GuestRam.Size));
        int passes = 0;
        ulong copied;
        do
        {
            copied = TakeWritten(Copy);
            Console.WriteLine($"pass {++passes}: {copied >> 10} KiB had been written");
        }
        while (copied > LittleLeft && passes < MostPasses);
    }

    public override async Task SwitchAsync()
    {
        TakeWritten(Copy);
        await Source.Device.StopLoggingAsync();
    }

    public override long Compare()
    {
        for (ulong at = 0; at < GuestRam.Size; at += Piece)
            RequireSame(at, Piece);
        return (long)GuestRam.Size;
    }

    public override Task EndAsync() => Task.CompletedTask;
}
