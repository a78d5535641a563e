using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Frontend;

// Postcopy: what a migration (PostcopyMigration) needs of a session.
public sealed partial class VhostUserFrontend
{
    private PostcopyBackend? _postcopy;

    /// <summary>POSTCOPY_ADVISE and POSTCOPY_LISTEN.</summary>
    internal async ValueTask JoinPostcopyAsync(PostcopyMigration migration, CancellationToken cancellationToken)
    {
        using OperationGate.Pass pass = await _gate.EnterAsync(cancellationToken).ConfigureAwait(false);
        Use(VhostUserProtocolFeatures.PageFault, VhostUserRequest.PostcopyAdvise);
        if (_postcopy is not null)
            throw new InvalidOperationException("The session takes part in a migration already.");
        if (_published.Count > 0)
            throw new InvalidOperationException($"The back-end has {_published.Count} memory regions already; a session joins a migration before it is given memory.");
        SafeFileHandle descriptor = await Requests.PostcopyAdviseAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            UserFaults faults = UserFaults.Of(descriptor);
            await Requests.PostcopyListenAsync(cancellationToken).ConfigureAwait(false);
            _postcopy = new PostcopyBackend(migration, faults, EndForBrokenPostcopy);
        }
        catch (Exception e)
        {
            descriptor.Dispose();
            if (e is VhostUserProtocolException)
                _channel.Abort(e);
            else
                await TakeAdviceBackAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>So that the session can join again.</summary>
    private async ValueTask TakeAdviceBackAsync()
    {
        try
        {
            await Requests.PostcopyEndAsync(CancellationToken.None).ConfigureAwait(false);
        }
        catch (VhostUserException)
        {
            // A session that is lost has nothing to take back, and one that refuses says so when it is advised again.
        }
    }

    /// <summary>POSTCOPY_END, unless the session has left. A cancellation before it is sent leaves all as it was.</summary>
    internal async ValueTask EndPostcopyAsync(CancellationToken cancellationToken)
    {
        using OperationGate.Pass pass = await _gate.EnterAsync(cancellationToken).ConfigureAwait(false);
        if (_postcopy is null)
            return;
        try
        {
            await Requests.PostcopyEndAsync(CancellationToken.None).ConfigureAwait(false);
        }
        finally
        {
            await LeavePostcopyAsync().ConfigureAwait(false);
        }
    }

    /// <summary>The back-end's faults are heard no more.</summary>
    internal async ValueTask LeavePostcopyAsync()
    {
        if (Interlocked.Exchange(ref _postcopy, null) is { } postcopy)
            await postcopy.DisposeAsync().ConfigureAwait(false);
    }

    /// <summary>SET_MEM_TABLE in postcopy: the back-end says where it has mapped what, and goes on when it is told that its faults there will be served.</summary>
    private async ValueTask SendIncomingTableAsync(
        PostcopyBackend postcopy, PublishedMemory next, VhostUserMemoryRegion[] regions, ReadOnlyMemory<System.Runtime.InteropServices.SafeHandle> descriptors, CancellationToken cancellationToken)
    {
        await NameAsync(postcopy, async () =>
        {
            VhostUserMemoryRegion[] told = await Requests.SetMemTableForPostcopyAsync(regions, descriptors, cancellationToken).ConfigureAwait(false);
            CheckedOrEnded(() => postcopy.SetTable(next.Regions, told));
        }).ConfigureAwait(false);
        await ConfirmAddressesAsync(VhostUserRequest.SetMemTable, cancellationToken).ConfigureAwait(false);
    }

    private async ValueTask ConfirmAddressesAsync(VhostUserRequest request, CancellationToken cancellationToken)
    {
        await Requests.ConfirmPostcopyAddressesAsync(request, cancellationToken).ConfigureAwait(false);
        await Requests.GetFeaturesAsync(cancellationToken).ConfigureAwait(false); // no acknowledgement says that the back-end went on
    }

    /// <summary>ADD_MEM_REG in postcopy.</summary>
    private ValueTask AddIncomingRegionAsync(PostcopyBackend postcopy, PublishedRegion region, CancellationToken cancellationToken) => NameAsync(postcopy, async () =>
    {
        VhostUserSingleRegion told = await Requests.AddMemRegForPostcopyAsync(
            new VhostUserSingleRegion(region.Wire), region.Memory.Descriptor, cancellationToken).ConfigureAwait(false);
        CheckedOrEnded(() => postcopy.Add(region, told.Region));
    });

    /// <summary>Asks a back-end for addresses. What it waits for before it has answered is looked up afterwards.</summary>
    private async ValueTask NameAsync(PostcopyBackend postcopy, Func<ValueTask> ask)
    {
        postcopy.BeginNaming();
        try
        {
            await ask().ConfigureAwait(false);
        }
        catch (Exception) when (TryEndNaming(postcopy))
        {
            throw;
        }

        CheckedOrEnded(postcopy.EndNaming);
    }

    /// <summary>After a failure, which is the one to be told.</summary>
    private bool TryEndNaming(PostcopyBackend postcopy)
    {
        try
        {
            postcopy.EndNaming();
        }
        catch (VhostUserProtocolException e)
        {
            _channel.Abort(e);
        }

        return false;
    }

    /// <summary>A back-end whose answer is wrong waits for pages that will never be found.</summary>
    private void CheckedOrEnded(Action check)
    {
        try
        {
            check();
        }
        catch (VhostUserProtocolException e)
        {
            _channel.Abort(e);
            throw;
        }
    }

    private void EndForBrokenPostcopy(Exception reason) => _channel.Abort(
        reason as VhostUserException ?? new VhostUserProtocolException(VhostUserViolation.BadDescriptor, $"the back-end's userfaultfd is of no use: {reason.Message}"));
}
