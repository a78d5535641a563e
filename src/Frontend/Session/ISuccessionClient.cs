namespace Vhost.Frontend;

/// <summary>What a <see cref="SessionSuccession"/> asks of the client whose sessions follow one another. All on one task, one after the other.</summary>
internal interface ISuccessionClient
{
    /// <summary>Whether the client can go on with another session when the present one is lost.</summary>
    bool CanGoOn { get; }

    /// <summary>The session was lost, and the next one is going to be looked for. What throws here ends the client.</summary>
    /// <param name="lost">Still there, but dead.</param>
    void Suspend(VhostUserFrontend lost);

    /// <summary>
    /// Gives the next back-end memory and rings. Maybe called several times, when one that came is lost at once; the lost one does not touch the rings any more.
    /// </summary>
    /// <param name="next">A session that has negotiated, and is nobody else's yet.</param>
    /// <param name="memory">The memory that the lost one had.</param>
    /// <param name="stop">Gives up.</param>
    ValueTask StartOverAsync(VhostUserFrontend next, Vhost.Protocol.GuestMemory memory, CancellationToken stop);

    /// <summary>The next one serves, and is <see cref="SessionSuccession.Current"/>. What throws here is logged, and the session goes on.</summary>
    void Resume();

    /// <summary>There is no other session: everything ends with a reason.</summary>
    void Fail(Exception reason);
}
