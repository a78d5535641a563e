using System.Collections;
using Vhost.Frontend;
using Vhost.Protocol;

namespace LiveMigration;

/// <summary>
/// A half of memory is copied while the guest runs here. The other half, and what was written meanwhile, follows when the guest runs there already: first what somebody waits for, guest or device, then the rest.
/// </summary>
/// <remarks>From the moment at which the guest goes on there is no way back: what it has written is there alone, and what has not arrived is here alone.</remarks>
internal sealed class Postcopy(Host source, Host destination, Guest guest) : MemoryTransfer(source, destination)
{
    /// <summary>How much the guest works between what is copied before and the switch, and then again with nothing but what is asked for.</summary>
    private const long Work = 4 << 20;

    /// <summary>The half that is copied before. The rings lie in the other one.</summary>
    private static readonly DirtyRun _before = new(GuestRam.Size / 2, GuestRam.Size / 2);

    private readonly BitArray _arrived = new((int)(GuestRam.Size / PageSource.PageSize));
    private readonly PageSource _pages = new(source.Ram);
    private PostcopyMigration? _migration;

    /// <summary>What happens when the guest has gone on for a while, and some of its memory is still to come.</summary>
    public Func<Task> InTheMiddle { get; set; } = () => Task.CompletedTask;

    public ulong MissingBytes => _migration!.MissingBytes;

    /// <summary>Finds out before anything has happened to the guest.</summary>
    /// <exception cref="LinuxException">There is no postcopy for this user on this host.</exception>
    public static async Task RequireSupportAsync()
    {
        using GuestMemory nothing = GuestMemory.Create();
        await new PostcopyMigration(nothing, (_, _, _) => ValueTask.CompletedTask).DisposeAsync();
    }

    public override async Task BeginAsync()
    {
        await StartLoggingAsync();
        Copy(_before);
        await guest.WorkedAsync(guest.BytesVerified + Work);
    }

    public override async Task SwitchAsync()
    {
        Mark(_before, true);
        TakeWritten(run => Mark(run, false));
        await Source.Device.StopLoggingAsync();

        _migration = new PostcopyMigration(Destination.Ram.Memory, _pages.AskAsync);
        for (int page = 0; page < _arrived.Count; page++)
        {
            if (_arrived[page])
                _migration.MarkArrived(AddressOf(page), PageSource.PageSize);
            else
                _migration.Discard(AddressOf(page), PageSource.PageSize);
        }

        _pages.Begin(_migration);
        await JoinAsync();
        ulong old = MissingBytes - (GuestRam.Size - _before.Length);
        Console.WriteLine($"copied before: {_before.Length >> 10} KiB, of which {old >> 10} KiB are old by now; still to come: {MissingBytes >> 10} KiB");
    }

    /// <summary>The back-end there gets memory that is still under way.</summary>
    public async Task JoinAsync()
    {
        await _migration!.JoinAsync(Destination.Device);
        await Destination.Device.SetMemoryAsync(Destination.Ram.Memory);
    }

    public override long Compare()
    {
        long bytes = 0;
        for (int page = 0; page < _arrived.Count; page++)
        {
            if (!_arrived[page])
                continue;
            RequireSame(AddressOf(page).Value, PageSource.PageSize);
            bytes += (long)PageSource.PageSize;
        }

        return bytes;
    }

    public override async Task EndAsync()
    {
        await guest.WorkedAsync(guest.BytesVerified + Work);
        await InTheMiddle();
        await _pages.PushAsync(Enumerable.Range(0, _arrived.Count).Where(page => !_arrived[page]).Select(AddressOf));
        await _migration!.Completion;
        await _migration.EndAsync();
        Console.WriteLine($"postcopy: {_migration.RequestedPages} pages asked for by faults, {_pages.Pushed} pages pushed");
    }

    public override async ValueTask DisposeAsync()
    {
        if (_migration is not null)
            await _migration.DisposeAsync();
        await _pages.DisposeAsync();
        await base.DisposeAsync();
    }

    private static GuestAddress AddressOf(int page) => new((ulong)page * PageSource.PageSize);

    private void Mark(DirtyRun run, bool arrived)
    {
        for (ulong page = run.Offset / PageSource.PageSize; page * PageSource.PageSize < run.Offset + run.Length; page++)
            _arrived[(int)page] = arrived;
    }
}
