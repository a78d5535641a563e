using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Migration;

/// <summary>A back-end and a session that is to be given memory which is still under way.</summary>
internal sealed class PostcopyPair : IAsyncDisposable
{
    private readonly Task _serving;

    private PostcopyPair(IVhostUserDevice device, VhostUserBackendOptions options, VhostUserConnection connection)
    {
        Backend = new VhostUserBackend(device, options);
        _serving = Task.Run(() => Backend.ServeAsync(connection));
    }

    public VhostUserBackend Backend { get; }

    public VhostUserFrontend Frontend { get; private set; } = null!;

    public EventNotifier Kick { get; } = new();

    /// <summary>Completes when the back-end's session has ended.</summary>
    public Task Ended => _serving;

    public static async Task<PostcopyPair> StartAsync(IVhostUserDevice device, VirtioFeatures features, VhostUserBackendOptions? options = null, VhostUserProtocolFeatures additional = VhostUserProtocolFeatures.None)
    {
        (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
        options ??= new VhostUserBackendOptions();
        PostcopyPair pair = new(device, options with { AdditionalProtocolFeatures = VhostUserProtocolFeatures.PageFault | additional }, back);
        pair.Frontend = await VhostUserFrontend.StartAsync(front, new VhostUserFrontendOptions
        {
            Queues = device.QueueCount,
            RequiredProtocolFeatures = VhostUserProtocolFeatures.PageFault | additional,
        }).InTime();
        await pair.Frontend.SetFeaturesAsync(features).InTime();
        return pair;
    }

    public async ValueTask DisposeAsync()
    {
        await Frontend.DisposeAsync().InTime();
        await _serving.InTime();
        await Backend.DisposeAsync();
        Kick.Dispose();
    }
}
