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
    /// <param name="request">The request.</param>
    /// <param name="agreed">What was agreed on before it.</param>
    /// <param name="postcopy">Whether memory was being brought in by a postcopy migration.</param>
    internal void Add(ProxyMessage request, in NegotiatedState agreed, bool postcopy)
    {
        bool isKnown = MessageContracts.TryGet(request.Channel, request.Header.Request, out MessageContract? contract);
        bool isAnswered = isKnown && contract!.IsAnswered(request.Header, agreed, postcopy);
        if (isKnown && !isAnswered && !request.Header.NeedsReply)
            return;
        _open.AddLast(new Request(request.Number, request.Header.Request, request.At, isAnswered));
        if (_open.Count > Most)
            _open.RemoveFirst();
    }

    /// <summary>The request that a reply answers: the first with its code that has to be answered, or else the first that may be. What was asked before it gets no answer any more.</summary>
    internal Request? Take(in VhostUserHeader reply)
    {
        if ((Find(reply.Request, isAnswered: true) ?? Find(reply.Request, isAnswered: false)) is not { } answered)
            return null;
        while (!ReferenceEquals(_open.First, answered))
            _open.RemoveFirst();
        _open.RemoveFirst();
        return answered.Value;
    }

    private LinkedListNode<Request>? Find(uint code, bool isAnswered)
    {
        LinkedListNode<Request>? at = _open.First;
        while (at is not null && (at.Value.Code != code || at.Value.IsAnswered != isAnswered))
            at = at.Next;
        return at;
    }

    /// <summary>What is kept of one: a payload may be a frame of a display.</summary>
    /// <param name="Number">Its number.</param>
    /// <param name="Code">Its code.</param>
    /// <param name="At">When it came.</param>
    /// <param name="IsAnswered">It has to be answered; otherwise it asks for an answer that was not agreed on, or nobody knows it.</param>
    [StructLayout(LayoutKind.Auto)]
    internal readonly record struct Request(long Number, uint Code, TimeSpan At, bool IsAnswered);
}
