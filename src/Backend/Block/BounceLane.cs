using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// Requests of a queue whose buffers the kernel cannot use as they are (O_DIRECT): one after the other, in pieces, through one buffer of ours. So they hold up no worker, and take no more
/// memory however many a driver sends.
/// </summary>
/// <remarks>Threading: the queue's worker. While the kernel works on the first of them the buffer is the kernel's.</remarks>
internal sealed class BounceLane
{
    private readonly Queue<BlockRequest> _requests = new();
    private BounceBuffer? _buffer;

    private BounceBuffer Buffer => _buffer ??= new BounceBuffer();

    /// <summary>The bytes of a request's next piece.</summary>
    internal static uint NextPiece(BlockRequest request) => Math.Min(request.Length - request.Done, BounceBuffer.Size);

    /// <summary>Puts a request at the end.</summary>
    /// <returns>Whether its turn has come.</returns>
    internal bool Enter(BlockRequest request)
    {
        _requests.Enqueue(request);
        return _requests.Count == 1;
    }

    /// <summary>The first request has ended.</summary>
    /// <returns>The one whose turn has come; null when there is none.</returns>
    internal BlockRequest? Leave()
    {
        _requests.Dequeue();
        return _requests.TryPeek(out BlockRequest? next) ? next : null;
    }

    /// <summary>Where the next piece of a read goes.</summary>
    internal GuestBuffers ToFill(BlockRequest request) => Buffer.Front(NextPiece(request));

    /// <summary>A piece was read: gives it to the guest.</summary>
    internal void Deliver(BlockRequest request, uint read) => request.Remaining().CopyFrom(Buffer.Bytes[..(int)read]);

    /// <summary>The next piece of a write.</summary>
    internal GuestBuffers Filled(BlockRequest request) => Buffer.Front((uint)request.Remaining().CopyTo(Buffer.Bytes));

    /// <summary>No further request gets its turn.</summary>
    /// <returns>Those that have waited for it.</returns>
    internal BlockRequest[] Close()
    {
        BlockRequest[] waiting = [.. _requests.Skip(1)];
        _requests.Clear();
        return waiting;
    }
}
