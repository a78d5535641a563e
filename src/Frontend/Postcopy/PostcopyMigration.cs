using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// The memory of a guest that runs here before all of it has arrived (postcopy, the destination's side): whoever touches a page that is missing waits for it, back-ends in their processes and this process alike; the page is asked
/// for, and placed when it comes.
/// </summary>
/// <remarks>
/// <para>In this order: make the migration; <see cref="Discard"/> what came before and is old, <see cref="MarkArrived"/> what is not; <see cref="JoinAsync"/> with each session, before it is given memory; then memory and rings as always, while <see cref="Place"/> is called for whatever comes, asked for or not; when
/// <see cref="Completion"/> is there, <see cref="EndAsync"/>.</para>
/// <para>Threads of this process that touch guest memory by themselves: virtual processors and system calls simply wait. Managed code must not: a thread that waits for a page in the middle of managed code holds up the
/// garbage collector, and so whoever is to place the page. It calls <see cref="BringInAsync"/> first; <see cref="GuestMemoryLease"/> brings in what it reads and writes by itself, and blocks meanwhile.</para>
/// <para>Needs userfaultfd and Linux 5.14. Memory is a memfd or a file in memory (tmpfs, hugetlbfs), regions consist of whole pages of it. Threading: all members may be used from any thread.</para>
/// </remarks>
public sealed partial class PostcopyMigration : IAsyncDisposable
{
    private readonly PostcopyPageRequest _requestPage;
    private readonly UserFaults _own;
    private readonly GuestMemoryLease _lease;
    private readonly PostcopyRegion[] _regions;
    private readonly FaultListener _listener;
    private readonly Lock _gate = new();
    private readonly List<VhostUserFrontend> _sessions = [];
    private readonly CancellationTokenSource _disposal = new();
    private readonly TaskCompletionSource _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private long _requested;
    private long _duplicates;
    private int _ended;

    /// <summary>Begins: from now on every page of the memory is missing that is not in its file, and whoever touches it waits.</summary>
    /// <param name="memory">The guest's memory. Borrowed: it stays until this is disposed.</param>
    /// <param name="requestPage">Asks the source for pages.</param>
    /// <exception cref="ArgumentException">A region does not consist of whole pages.</exception>
    /// <exception cref="LinuxException">This user may not use userfaultfd, the kernel is too old, or the memory is of a kind that cannot be watched.</exception>
    public PostcopyMigration(GuestMemory memory, PostcopyPageRequest requestPage)
    {
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(requestPage);
        _requestPage = requestPage;
        _own = UserFaults.Open();
        List<PostcopyRegion> regions = [];
        try
        {
            _lease = memory.Acquire();
            foreach (GuestMemoryRegion region in memory.Regions)
                regions.Add(new PostcopyRegion(region, _own));
            _regions = [.. regions];
            _listener = new FaultListener(_own, OnOwnFault, Fail);
        }
        catch
        {
            foreach (PostcopyRegion region in regions)
                region.Dispose();
            _lease.Dispose();
            _own.Dispose();
            _disposal.Dispose();
            throw;
        }
    }

    /// <summary>Completes when all memory has arrived. Faults when a page could not be asked for, is there although nobody has placed it, or is empty and there was no memory for it; cancelled when this is disposed before.</summary>
    public Task Completion => _completion.Task;

    /// <summary>Bytes that were neither placed nor marked as arrived yet.</summary>
    public ulong MissingBytes => _regions.Aggregate(0UL, static (sum, region) => sum + region.MissingBytes);

    /// <summary>Pages that somebody waited for, so that they were asked for.</summary>
    public long RequestedPages => Volatile.Read(ref _requested);

    /// <summary>Pages that came although they were there.</summary>
    public long DuplicatePages => Volatile.Read(ref _duplicates);

    /// <summary>
    /// Has the back-end of a session take part: POSTCOPY_ADVISE and POSTCOPY_LISTEN. The memory that the session is given afterwards must be that of the migration. A back-end that names addresses or waits for pages that it
    /// was not given loses its session (<see cref="VhostUserProtocolException"/>); the migration goes on.
    /// </summary>
    /// <param name="session">A session with PAGEFAULT that has no memory yet.</param>
    /// <param name="cancellationToken">Cancels freely between messages; see the remarks of <see cref="VhostUserFrontend"/>.</param>
    /// <returns>Completes when the back-end is ready.</returns>
    /// <exception cref="VhostUserFeatureException">PAGEFAULT is not negotiated. Ask for it with <see cref="VhostUserFrontendOptions.WantedProtocolFeatures"/>.</exception>
    /// <exception cref="InvalidOperationException">The session has memory already, or takes part in a migration.</exception>
    /// <exception cref="VhostUserException">The back-end refused, answered without a userfaultfd, or is lost.</exception>
    public async ValueTask JoinAsync(VhostUserFrontend session, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(session);
        ObjectDisposedException.ThrowIf(Volatile.Read(ref _ended) != 0, this);
        await session.JoinPostcopyAsync(this, cancellationToken).ConfigureAwait(false);
        if (TryAdd(session))
            return;
        await session.EndPostcopyAsync(CancellationToken.None).ConfigureAwait(false);
        throw new ObjectDisposedException(nameof(PostcopyMigration), "The migration was ended while the session joined it.");
    }

    /// <summary>Throws away what is in the memory's file of pages that came before the guest was moved, and were written there since: they are missing then. What is in the file and neither discarded nor marked as
    /// arrived ends the migration when the page comes (<see cref="Place"/>).</summary>
    /// <param name="address">First byte of a page.</param>
    /// <param name="length">Bytes, whole pages in one region.</param>
    /// <exception cref="ArgumentException">They are not whole pages of one region.</exception>
    /// <exception cref="InvalidOperationException">One of them has arrived.</exception>
    /// <exception cref="LinuxException">The kernel does not take them out of the file.</exception>
    /// <exception cref="ObjectDisposedException">The migration has ended.</exception>
    public void Discard(GuestAddress address, ulong length)
    {
        PostcopyRegion region = Find(address, length, out ulong offset);
        region.Discard(offset, length);
    }

    /// <summary>Says of pages that they have come before the guest was moved: they are what is in the memory's file, and empty where nothing is there. Empty ones take no memory until somebody touches them; he is given a page of zeros
    /// at once, without a request to the source. Those that nobody has touched when the migration ends are left out of the file.</summary>
    /// <param name="address">First byte of a page.</param>
    /// <param name="length">Bytes, whole pages in one region.</param>
    /// <exception cref="ArgumentException">They are not whole pages of one region.</exception>
    /// <exception cref="ObjectDisposedException">The migration has ended.</exception>
    public void MarkArrived(GuestAddress address, ulong length)
    {
        PostcopyRegion region = Find(address, length, out ulong offset);
        region.Found(offset, length);
        CompleteIfAllArrived();
    }

    /// <summary>Places pages that have come, asked for or not, each of them at once; those that are there already stay as they are. Whoever waits for one of them goes on.</summary>
    /// <param name="address">First byte of a page.</param>
    /// <param name="pages">What is in the pages, whole pages in one region.</param>
    /// <returns>Bytes that were missing.</returns>
    /// <exception cref="ArgumentException">They are not whole pages of one region.</exception>
    /// <exception cref="InvalidDataException">A page is in the file that was neither placed nor marked as arrived: somebody has gone on without it, and what he has written is not the guest's. <see cref="Completion"/> faults with the same.</exception>
    /// <exception cref="LinuxException">The kernel does not take them, for lack of memory for example.</exception>
    /// <exception cref="ObjectDisposedException">The migration has ended.</exception>
    public int Place(GuestAddress address, ReadOnlySpan<byte> pages)
    {
        PostcopyRegion region = Find(address, (ulong)pages.Length, out ulong offset);
        int size = checked((int)region.PageSize);
        int added = PlaceOrFail(region, offset, pages);
        Interlocked.Add(ref _duplicates, (pages.Length / size) - added);
        CompleteIfAllArrived();
        return added * size;
    }

    /// <summary>Waits until a range is there, and asks for what of it is missing: for managed code, before it touches memory.</summary>
    /// <param name="address">First byte.</param>
    /// <param name="length">Bytes, in one region.</param>
    /// <param name="cancellationToken">Ends the wait; what was asked for comes all the same.</param>
    /// <returns>Completes when all of it is there, at once when it was.</returns>
    /// <exception cref="ArgumentException">The range is not in one region.</exception>
    /// <exception cref="LinuxException">There is no memory for a page of it that is empty.</exception>
    /// <exception cref="ObjectDisposedException">The migration has ended before that.</exception>
    public async ValueTask BringInAsync(GuestAddress address, ulong length, CancellationToken cancellationToken = default)
    {
        if (length == 0)
            return;
        PostcopyRegion region = RegionAt(address, length, out ulong offset);
        ulong first = offset / region.PageSize;
        ulong last = (offset + (length - 1)) / region.PageSize;
        List<Task> arrivals = [];
        for (ulong page = first; page <= last; page++)
        {
            (Task? arrival, bool isFirst) = region.AwaitAsync(page);
            if (isFirst)
                Request(region, page);
            if (arrival is not null)
                arrivals.Add(arrival);
        }

        await Task.WhenAll(arrivals).WaitAsync(cancellationToken).ConfigureAwait(false);
        region.MakeEmpty(first, last - first + 1);
    }

    /// <summary>Ends the migration when all memory has arrived: POSTCOPY_END to each back-end that took part and is still there; memory is ordinary memory from then on.</summary>
    /// <param name="cancellationToken">Cancels freely between messages; call it again for the back-ends that have not been told.</param>
    /// <returns>Completes when the back-ends have answered.</returns>
    /// <exception cref="InvalidOperationException">Memory is still missing.</exception>
    /// <exception cref="VhostUserException">A back-end refused; the others have been told.</exception>
    public async ValueTask EndAsync(CancellationToken cancellationToken = default)
    {
        if (MissingBytes is var missing and not 0)
            throw new InvalidOperationException(string.Create(CultureInfo.InvariantCulture, $"The migration cannot end: {missing} bytes have not arrived. Await Completion first."));
        List<Exception> failures = [];
        foreach (VhostUserFrontend session in Sessions())
        {
            try
            {
                await session.EndPostcopyAsync(cancellationToken).ConfigureAwait(false);
            }
            catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
            {
                throw; // this session and those behind it are told next time
            }
            catch (Exception) when (session.Completion.IsCompleted)
            {
                // A session that is lost needs no end.
            }
            catch (Exception e)
            {
                failures.Add(e);
            }

            Remove(session);
        }

        await DisposeAsync().ConfigureAwait(false);
        if (failures.Count > 0)
            throw failures[0];
    }

    /// <summary>Ends the migration as it is: whoever still waits for a page goes on without it, so that it must not be used any more where memory is missing. Sessions stay, and should be ended first then.</summary>
    /// <returns>Completes when nothing of the migration runs any more.</returns>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _ended, 1) != 0)
            return;
        await _disposal.CancelAsync().ConfigureAwait(false);
        foreach (VhostUserFrontend session in Sessions())
            await session.LeavePostcopyAsync().ConfigureAwait(false);
        await _listener.DisposeAsync().ConfigureAwait(false);
        foreach (PostcopyRegion region in _regions)
            region.Dispose();
        _own.Dispose();
        _lease.Dispose();
        _disposal.Dispose();
        _completion.TrySetCanceled(CancellationToken.None);
    }

    /// <summary>Sessions that have ended meanwhile are forgotten.</summary>
    /// <returns>False: the migration has ended.</returns>
    private bool TryAdd(VhostUserFrontend session)
    {
        lock (_gate)
        {
            if (_ended != 0)
                return false;
            _sessions.RemoveAll(static one => one.Completion.IsCompleted);
            _sessions.Add(session);
            return true;
        }
    }

    private void Remove(VhostUserFrontend session)
    {
        lock (_gate)
            _sessions.Remove(session);
    }

    private VhostUserFrontend[] Sessions()
    {
        lock (_gate)
            return [.. _sessions];
    }
}
