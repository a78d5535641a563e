using Vhost.Frontend;
using Vhost.Protocol;

namespace LiveMigration;

/// <summary>The back-end there is lost while memory is still under way: the guest cannot go back, and its memory goes on to arrive; the next back-end takes the place of the first where requests were noted.</summary>
internal static class LostBackend
{
    /// <exception cref="VhostUserException">There is no next one for this device: its rings need a reset.</exception>
    public static async Task ReplaceAsync(Guest guest, Host destination, Postcopy memory, Migration migration)
    {
        VhostUserException lost = await destination.KillBackendAsync();
        Console.WriteLine($"the back-end is lost in the middle of postcopy: {lost.Message}");
        Console.WriteLine($"no way back: {memory.MissingBytes >> 10} KiB are at the source alone, and what the guest has written since then is here alone");
        if (destination.Inflight is null)
        {
            foreach (GuestRing ring in guest.Rings)
            {
                VringRestart restart = VringRestart.Of(destination.Ram.Memory, ring.Settings, guest.Features);
                if (restart.NeedsReset)
                    throw new VhostUserException($"ring {ring.Settings.Index} cannot go on with another back-end, its driver must reset the device: {restart.Reason}", lost);
            }
        }

        // The way of the first one once more: it joins, gets memory and the device's state, and its rings start; they go on where the region for requests under way says.
        await destination.ReplaceBackendAsync();
        await memory.JoinAsync();
        await migration.RecoverAsync();
        Console.WriteLine("the next back-end has taken its place");
    }
}
