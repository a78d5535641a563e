using System.Runtime.InteropServices;

namespace Vhost.Protocol;

/// <summary>
/// Moves bytes with descriptors attached. Both directions try first and wait only when nothing moved, so that a message that is already there costs no
/// thread change. One reader and one writer at a time.
/// </summary>
internal interface IVhostUserTransport : IDisposable
{
    /// <summary>What <see cref="TryReceive"/> and <see cref="TrySend"/> return when nothing can move now.</summary>
    const int WouldBlock = -1;

    /// <summary>The most descriptors that can travel with one message.</summary>
    const int MaxDescriptors = Libc.SCM_MAX_FD;

    /// <summary>Names the connection in messages and logs.</summary>
    string Name { get; }

    /// <summary>
    /// The process at the other end: the one that connected or listened, or, after <see cref="NameSenders"/>, the one that sent what was received last. 0 when there is none or it is not known.
    /// </summary>
    int PeerProcessId { get; }

    /// <summary>From now on the peer's process is the one that sends: whoever listened or connected may have handed the socket over, as service managers do.</summary>
    void NameSenders();

    /// <summary>Whether the other end is closed already: nobody hears what is said, whatever is left to receive.</summary>
    bool HasPeerLeft { get; }

    /// <summary>Completes when <see cref="HasPeerLeft"/> is true, or this end is aborted. One wait at a time.</summary>
    ValueTask WaitPeerLeftAsync(CancellationToken cancellationToken);

    /// <summary>Takes what is there, at most <paramref name="destination"/>; the descriptors that came with these bytes are added to the list.</summary>
    /// <returns>Bytes received, 0 at the end of the stream, <see cref="WouldBlock"/> when there is nothing yet.</returns>
    int TryReceive(Span<byte> destination, ReceivedDescriptors descriptors);

    /// <summary>Completes when <see cref="TryReceive"/> is worth another try.</summary>
    ValueTask WaitReceivableAsync(CancellationToken cancellationToken);

    /// <summary>Gives as many bytes as the other side takes; the descriptors (borrowed) travel with the first of them.</summary>
    /// <returns>Bytes sent, or <see cref="WouldBlock"/>.</returns>
    int TrySend(ReadOnlySpan<byte> bytes, ReadOnlySpan<SafeHandle> descriptors);

    /// <summary>Completes when <see cref="TrySend"/> is worth another try.</summary>
    ValueTask WaitSendableAsync(CancellationToken cancellationToken);

    /// <summary>Ends what this side says: the other end gets what is under way, and then the end of the stream; it may still say something. Nobody may be sending.</summary>
    void EndSending();

    /// <summary>Ends both directions; waits on either side end. Thread-safe.</summary>
    void Abort();
}
