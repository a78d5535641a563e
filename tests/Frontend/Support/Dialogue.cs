using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>A session and the scripted back-end it talks to.</summary>
internal sealed class Dialogue : IAsyncDisposable
{
    private Dialogue(VhostUserFrontend session, ScriptedBackend backend)
    {
        Session = session;
        Backend = backend;
    }

    public VhostUserFrontend Session { get; }

    public ScriptedBackend Backend { get; }

    public static async Task<Dialogue> StartAsync(BackendOffer? offer = null, VhostUserFrontendOptions? options = null)
    {
        (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
        ScriptedBackend backend = new(back, offer);
        try
        {
            return new Dialogue(await VhostUserFrontend.StartAsync(front, options).InTime(), backend);
        }
        catch
        {
            await backend.DisposeAsync();
            throw;
        }
    }

    /// <summary>Starts a session that is expected to fail; returns why and what was said.</summary>
    public static async Task<(Exception Failure, IReadOnlyList<string> Transcript)> RefusedAsync(
        BackendOffer? offer = null, VhostUserFrontendOptions? options = null, Func<ScriptedRequest, int, Misbehaviour?>? misbehave = null)
    {
        (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
        await using ScriptedBackend backend = new(back, offer, misbehave);
        try
        {
            await using VhostUserFrontend session = await VhostUserFrontend.StartAsync(front, options).InTime();
        }
        catch (Exception failure)
        {
            await backend.Ended.InTime();
            return (failure, backend.Transcript);
        }

        throw new InvalidOperationException("The session started.");
    }

    public async ValueTask DisposeAsync()
    {
        await Session.DisposeAsync().InTime();
        await Backend.DisposeAsync().InTime();
    }
}
