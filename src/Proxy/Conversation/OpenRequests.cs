using System.Runtime.InteropServices;
using Vhost.Protocol;

namespace Vhost.Proxy;

/// <summary>Requests of one channel that may still be answered, in the order in which they were made.</summary>
internal sealed class OpenRequests
{
    /// <summary>A peer that answers nothing is left behind; an answer comes to one of the last.</summary>
    private const int Most = 256;

    private readonly LinkedList<Request> _open = new();

    /// <summary>Notes a request, unless nobody answers it.</summary>
    internal void Add(ProxyMessage request)
    {
        bool isAnswered = !MessageContracts.TryGet(request.Channel, request.Header.Request, out MessageContract? contract)
            || contract.Reply is ReplyRule.Always or ReplyRule.Conditional || request.Header.NeedsReply;
        if (!isAnswered)
            return;
        _open.AddLast(new Request(request.Number, request.Header.Request, request.At));
        if (_open.Count > Most)
            _open.RemoveFirst();
    }

    /// <summary>The request that a reply answers: the first with its code. What was asked before it gets no answer any more.</summary>
    internal Request? Take(in VhostUserHeader reply)
    {
        for (LinkedListNode<Request>? at = _open.First; at is not null; at = at.Next)
        {
            if (at.Value.Code != reply.Request)
                continue;
            while (!ReferenceEquals(_open.First, at))
                _open.RemoveFirst();
            _open.RemoveFirst();
            return at.Value;
        }

        return null;
    }

    /// <summary>What is kept of one: a payload may be a frame of a display.</summary>
    [StructLayout(LayoutKind.Auto)]
    internal readonly record struct Request(long Number, uint Code, TimeSpan At);
}
