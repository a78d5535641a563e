using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>Who waits for pages, and how those are asked for.</summary>
public sealed partial class PostcopyMigration
{
    /// <exception cref="InvalidOperationException">The memory is not that of the migration.</exception>
    internal PostcopyRegion RegionOf(SharedMemory memory) => Array.Find(_regions, region => ReferenceEquals(region.Region.Memory, memory))
        ?? throw new InvalidOperationException("The session takes part in a migration, but this memory does not: its missing pages would never come.");

    /// <summary>A thread of a back-end, or of this process, waits for a page.</summary>
    internal void OnFault(PostcopyRegion region, ulong page, PageWaker waker)
    {
        try
        {
            if (region.Await(page, waker))
                Request(region, page);
        }
        catch (LinuxException e)
        {
            Fail(e); // nothing that whoever waits has done
        }
    }

    private void OnOwnFault(ulong address)
    {
        foreach (PostcopyRegion region in _regions)
        {
            if (address < region.OwnAddress || address - region.OwnAddress >= region.Region.Size)
                continue;
            ulong page = (address - region.OwnAddress) / region.PageSize;
            OnFault(region, page, new PageWaker(_own, region.OwnAddress + (page * region.PageSize), region.PageSize));
            return;
        }
    }

    private void Request(PostcopyRegion region, ulong page)
    {
        Interlocked.Increment(ref _requested);
        _ = RequestAsync(new GuestAddress(region.Region.GuestAddress.Value + (page * region.PageSize)), region.PageSize);
    }

    private async Task RequestAsync(GuestAddress address, ulong length)
    {
        try
        {
            await _requestPage(address, length, _disposal.Token).ConfigureAwait(false);
        }
        catch (Exception) when (Volatile.Read(ref _ended) != 0)
        {
            // Nobody waits any more.
        }
        catch (Exception e)
        {
            Fail(e);
        }
    }

    private int PlaceOrFail(PostcopyRegion region, ulong offset, ReadOnlySpan<byte> pages)
    {
        try
        {
            return region.Place(offset, pages);
        }
        catch (InvalidDataException e)
        {
            Fail(e);
            throw;
        }
    }

    private void Fail(Exception reason)
    {
        _completion.TrySetException(reason);
        _ = _completion.Task.Exception;
    }

    private void CompleteIfAllArrived()
    {
        if (MissingBytes == 0)
            _completion.TrySetResult();
    }

    /// <summary>The region of whole pages.</summary>
    private PostcopyRegion Find(GuestAddress address, ulong length, out ulong offset)
    {
        PostcopyRegion region = RegionAt(address, length, out offset);
        if (length == 0 || (offset | length) % region.PageSize != 0)
        {
            throw new ArgumentException(string.Create(
                CultureInfo.InvariantCulture, $"0x{length:x} bytes at guest {address} are not whole pages of 0x{region.PageSize:x} bytes."));
        }

        return region;
    }

    private PostcopyRegion RegionAt(GuestAddress address, ulong length, out ulong offset)
    {
        ObjectDisposedException.ThrowIf(Volatile.Read(ref _ended) != 0, this);
        foreach (PostcopyRegion region in _regions)
        {
            offset = unchecked(address.Value - region.Region.GuestAddress.Value);
            if (offset < region.Region.Size && length <= region.Region.Size - offset)
                return region;
        }

        throw new ArgumentException(string.Create(
            CultureInfo.InvariantCulture, $"0x{length:x} bytes at guest {address} are not in one of the {_regions.Length} regions of the migration."));
    }
}
