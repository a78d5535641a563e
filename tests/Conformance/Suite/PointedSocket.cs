using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Conformance.Tests;

/// <summary>A place that stays the same while who is behind it changes: a back-end, one that takes connections and says nothing, or nobody.</summary>
internal sealed class PointedSocket : IAsyncDisposable
{
    private readonly TempSocket _place = new();
    private readonly TempSocket _mute = new();
    private readonly VhostUserListener _listener;
    private readonly List<VhostUserConnection> _held = [];

    public PointedSocket() => _listener = VhostUserListener.Listen(_mute.Path);

    public string Path => _place.Path;

    public void Point(string socket)
    {
        PointNowhere();
        File.CreateSymbolicLink(Path, socket);
    }

    public void PointNowhere() => File.Delete(Path);

    public void PointToMute() => Point(_mute.Path);

    /// <summary>Somebody has said something to the one that does not answer.</summary>
    public async Task MuteHearsAsync()
    {
        VhostUserConnection connection = await _listener.AcceptAsync().AsTask().InTime();
        using VhostUserMessage? message = await connection.ReceiveAsync().InTime();
        message.Should().NotBeNull();
        _held.Add(connection);
    }

    public async ValueTask DisposeAsync()
    {
        foreach (VhostUserConnection connection in _held)
            await connection.DisposeAsync();
        await _listener.DisposeAsync();
        PointNowhere();
        _place.Dispose();
        _mute.Dispose();
    }
}
