using Vhost.Protocol;

namespace Vhost.Proxy;

/// <summary>Requests of one channel that may still be answered, in the order in which they were made.</summary>
internal sealed class OpenRequests
{
    /// <summary>Requests that nobody answers are many; an answer comes to one of the last.</summary>
    private const int Most = 256;

    private readonly LinkedList<ProxyMessage> _open = new();

    internal void Add(ProxyMessage request)
    {
        _open.AddLast(request);
        if (_open.Count > Most)
            _open.RemoveFirst();
    }

    /// <summary>The request that a reply answers: the first with its code. What was asked before it gets no answer any more.</summary>
    internal ProxyMessage? Take(in VhostUserHeader reply)
    {
        for (LinkedListNode<ProxyMessage>? at = _open.First; at is not null; at = at.Next)
        {
            if (at.Value.Header.Request != reply.Request)
                continue;
            while (!ReferenceEquals(_open.First, at))
                _open.RemoveFirst();
            _open.RemoveFirst();
            return at.Value;
        }

        return null;
    }
}
