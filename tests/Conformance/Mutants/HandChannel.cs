using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Conformance.Tests.Mutants;

/// <summary>The channel for requests of the back-end. What is sent there is never waited for.</summary>
internal sealed class HandChannel(HandSession session) : IAsyncDisposable
{
    private VhostUserConnection? _connection;

    public bool TryUse(SafeFileHandle descriptor)
    {
        VhostUserConnection? old = _connection;
        try
        {
            _connection = VhostUserConnection.Adopt(descriptor, new VhostUserConnectionOptions { SendTimeout = TimeSpan.FromSeconds(1) });
        }
        catch (Exception e) when (e is IOException or ArgumentException)
        {
            return false;
        }

        if (old is not null && !session.Is(Sin.KeepsOldChannel)) _ = old.DisposeAsync().AsTask();
        if (session.Is(Sin.ChannelSpeaksWhileSuspended)) Send(VhostUserBackendRequest.ConfigChangeMsg, []);
        if (session.Is(Sin.LostChannelEndsSession)) _ = FollowAsync(_connection);
        return true;
    }

    public void Send<T>(VhostUserBackendRequest request, T value)
        where T : struct, IVhostUserPayload<T>
    {
        byte[] payload = new byte[value.EncodedSize];
        value.Write(payload);
        Send(request, payload);
    }

    public void Send(VhostUserBackendRequest request, byte[] payload)
    {
        VhostUserHeader header = VhostUserHeader.ForRequest(request, payload.Length);
        if (session.Is(Sin.ChannelOmitsVersion)) header = header with { Flags = VhostUserHeaderFlags.None };
        if (_connection is { } connection) _ = SendAsync(connection, header, payload);
    }

    public ValueTask DisposeAsync() => _connection?.DisposeAsync() ?? ValueTask.CompletedTask;

    private static async Task SendAsync(VhostUserConnection connection, VhostUserHeader header, byte[] payload)
    {
        try
        {
            await connection.SendAsync(header, payload);
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException)
        {
        }
    }

    private async Task FollowAsync(VhostUserConnection connection)
    {
        try
        {
            while (await connection.ReceiveAsync(session.Stopping) is { } message) message.Dispose();
            session.End();
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException or OperationCanceledException)
        {
        }
    }
}
