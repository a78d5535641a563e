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
            throw;
        }
    }

    /// <summary>POSTCOPY_END.</summary>
    internal async ValueTask EndPostcopyAsync(CancellationToken cancellationToken)
    {
        using OperationGate.Pass pass = await _gate.EnterAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            await Requests.PostcopyEndAsync(cancellationToken).ConfigureAwait(false);
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
        VhostUserMemoryRegion[] told = await Requests.SetMemTableForPostcopyAsync(regions, descriptors, cancellationToken).ConfigureAwait(false);
        CheckedOrEnded(() => postcopy.SetTable(next.Regions, told));
        await ConfirmAddressesAsync(VhostUserRequest.SetMemTable, cancellationToken).ConfigureAwait(false);
    }

    private async ValueTask ConfirmAddressesAsync(VhostUserRequest request, CancellationToken cancellationToken)
    {
        await Requests.ConfirmPostcopyAddressesAsync(request, cancellationToken).ConfigureAwait(false);
        await Requests.GetFeaturesAsync(cancellationToken).ConfigureAwait(false); // no acknowledgement says that the back-end went on
    }

    /// <summary>ADD_MEM_REG in postcopy.</summary>
    private async ValueTask AddIncomingRegionAsync(PostcopyBackend postcopy, PublishedRegion region, CancellationToken cancellationToken)
    {
        VhostUserSingleRegion told = await Requests.AddMemRegForPostcopyAsync(
            new VhostUserSingleRegion(region.Wire), region.Memory.Descriptor, cancellationToken).ConfigureAwait(false);
        CheckedOrEnded(() => postcopy.Add(region, told.Region));
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
