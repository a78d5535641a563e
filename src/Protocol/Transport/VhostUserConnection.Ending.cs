using Microsoft.Win32.SafeHandles;

namespace Vhost.Protocol;

// For those who stand between two peers: each direction ends by itself, and what came last may be a part of a message.
public sealed partial class VhostUserConnection
{
    private MessageBody? _cutOff;

    /// <summary>Whether what came of a message inside which the stream ended is kept for <see cref="TakeCutOff"/>, and not closed. Set it before anything is received.</summary>
    internal bool KeepsCutOff { get; set; }

    /// <summary>Ends what this side says, when nobody is sending: the peer gets what is under way, and then the end of the stream.</summary>
    internal void EndSending() => _transport.EndSending();

    /// <summary>What came of a message inside which the stream ended, once; the descriptors are the caller's. Null: there is none.</summary>
    internal (byte[] Bytes, SafeFileHandle[] Descriptors)? TakeCutOff()
    {
        if (Interlocked.Exchange(ref _cutOff, null) is not { } body)
            return null;
        byte[] bytes = body.Arrived.ToArray();
        SafeFileHandle[] descriptors = [.. Enumerable.Range(0, body.Descriptors.Count).Select(i => body.Descriptors.Take(i)!)];
        body.Return();
        return (bytes, descriptors);
    }

    private void KeepCutOff() => _cutOff = Interlocked.Exchange(ref _partial, null);

    private void DropCutOff() => Interlocked.Exchange(ref _cutOff, null)?.Return();
}
