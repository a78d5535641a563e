using System.Buffers.Binary;
using Vhost.Tests.Support;

namespace Vhost.Protocol.Tests;

/// <summary>A request channel and the other end of its connection, which the test plays itself.</summary>
internal sealed class ScriptedPeer : IAsyncDisposable
{
    private readonly Ends _ends;
    private Task<VhostUserMessage?>? _received;

    internal ScriptedPeer(bool inProcess = false, RequestChannelOptions? options = null, VhostUserConnectionOptions? connection = null)
    {
        _ends = Ends.Make(inProcess, connection);
        Channel = new RequestChannel(_ends.FrontEnd, VhostUserChannel.Main, options);
        Channel.Start();
    }

    internal RequestChannel Channel { get; }

    internal VhostUserConnection Connection => _ends.BackEnd;

    /// <summary>The next request, whether it is there or not.</summary>
    internal Task<VhostUserMessage?> Received => _received ??= Connection.ReceiveAsync().AsTask();

    internal async Task<ulong> AskAsync(uint request, CancellationToken cancellationToken = default)
    {
        using VhostUserMessage reply = await Channel.CallAsync(Ends.Header(request, 0), default, default, cancellationToken).InTime();
        return BinaryPrimitives.ReadUInt64LittleEndian(reply.Payload);
    }

    internal async Task<VhostUserMessage> ReceiveAsync()
    {
        VhostUserMessage? message = await Received.InTime();
        _received = null;
        return message ?? throw new InvalidOperationException("The channel closed the connection.");
    }

    internal Task AnswerAsync(uint request, ulong value) => SayAsync(Ends.Header(request, 0).AsReply(8), BitConverter.GetBytes(value));

    internal Task SayAsync(VhostUserHeader header, byte[] payload, int descriptors = 0) => SayAsync(header, payload, descriptors, null);

    internal async Task SayAsync(VhostUserHeader header, byte[] payload, int descriptors, EventNotifier? notifier)
    {
        using EventNotifier any = new();
        await Connection.SendAsync(header, payload, Ends.Descriptors((notifier ?? any).Descriptor, descriptors)).InTime();
    }

    internal async Task EndsWith<TReason>(string message)
        where TReason : Exception
    {
        Func<Task> completion = () => Channel.Completion.InTime();
        await completion.Should().ThrowAsync<TReason>().WithMessage(message);
    }

    public async ValueTask DisposeAsync()
    {
        await Channel.DisposeAsync();
        await _ends.DisposeAsync();
    }
}
