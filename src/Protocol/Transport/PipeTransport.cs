using System.Runtime.InteropServices;

namespace Vhost.Protocol;

/// <summary>Two ends in one process over a pair of pipes: no socket and no system call except to duplicate descriptors.</summary>
internal sealed class PipeTransport : IVhostUserTransport
{
    private readonly PipeDirection _incoming;
    private readonly PipeDirection _outgoing;

    private PipeTransport(PipeDirection incoming, PipeDirection outgoing, string name) => (_incoming, _outgoing, Name) = (incoming, outgoing, name);

    public string Name { get; }

    public int PeerProcessId => 0;

    public bool HasPeerLeft => _outgoing.IsReaderClosed;

    public ValueTask WaitPeerLeftAsync(CancellationToken cancellationToken) => new(_outgoing.Closed.WaitAsync(cancellationToken));

    public void NameSenders()
    {
        // It is always this process.
    }

    internal static (PipeTransport First, PipeTransport Second) CreatePair(string first, string second)
    {
        PipeDirection forth = new(), back = new();
        return (new PipeTransport(back, forth, first), new PipeTransport(forth, back, second));
    }

    public int TryReceive(Span<byte> destination, ReceivedDescriptors descriptors) => _incoming.TryRead(destination, descriptors);

    public ValueTask WaitReceivableAsync(CancellationToken cancellationToken) => _incoming.WaitReadableAsync(cancellationToken);

    public int TrySend(ReadOnlySpan<byte> bytes, ReadOnlySpan<SafeHandle> descriptors) =>
        _outgoing.TryWrite(bytes, descriptors)
        ?? throw new VhostUserDisconnectedException($"{Name}: the connection was lost.", inner: null);

    public ValueTask WaitSendableAsync(CancellationToken cancellationToken) => _outgoing.WaitWritableAsync(cancellationToken);

    public void EndSending() => _outgoing.CloseWriter();

    public void Abort()
    {
        _outgoing.CloseWriter();
        _incoming.CloseReader();
    }

    public void Dispose() => Abort();
}
