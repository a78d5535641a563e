namespace Vhost.Backend;

/// <summary>
/// A transfer of the device's state from which the device has not returned, though the session that had begun it has ended. The sessions that follow start nothing meanwhile, and the device is reset when it has
/// returned: it may still take what it was given.
/// </summary>
/// <remarks>Threading: the sessions of a back-end, which run one after the other.</remarks>
internal sealed class HeldTransfer
{
    private Task _over = Task.CompletedTask;

    internal bool IsUnderWay => !_over.IsCompleted;

    /// <summary>Takes one over that is under way.</summary>
    /// <param name="transfer">Which.</param>
    /// <param name="reset">Resets the device; called once the device has returned, and does not throw.</param>
    internal void Hold(DeviceStateTransfer transfer, Action reset) => _over = ResetAfterAsync(transfer, reset);

    private static async Task ResetAfterAsync(DeviceStateTransfer transfer, Action reset)
    {
        await transfer.Outcome.ConfigureAwait(false);
        reset();
    }
}
