using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>What a handler decided about a request.</summary>
internal enum AnswerKind
{
    /// <summary>Carried out; acknowledge when the front-end asked for that.</summary>
    Done,

    /// <summary>Carried out; the request has its own reply.</summary>
    Reply,

    /// <summary>Not carried out, nothing changed: a negative acknowledgement when wanted, else the connection ends.</summary>
    Refuse,

    /// <summary>The connection cannot go on, whatever the front-end wanted.</summary>
    Close,

    /// <summary>Nothing was done and nothing is lost: a negative acknowledgement when wanted, else a log line.</summary>
    Ignore,
}

/// <summary>The outcome of a handler; it is the session that turns it into bytes.</summary>
internal readonly record struct Answer(AnswerKind Kind, ReadOnlyMemory<byte> Payload, VhostUserViolation Violation, string Explanation)
{
    /// <summary>Memory of which the descriptor goes with a reply; given up once it has gone.</summary>
    public SharedMemory? Memory { get; init; }

    /// <summary>A descriptor that goes with a reply; closed once it has gone.</summary>
    public SafeFileHandle? Descriptor { get; init; }

    public static Answer Done => default;

    public static Answer Reply(ReadOnlyMemory<byte> payload) => new(AnswerKind.Reply, payload, VhostUserViolation.None, string.Empty);

    public static Answer Reply<TPayload>(in TPayload payload)
        where TPayload : struct, IVhostUserPayload<TPayload>
    {
        byte[] bytes = new byte[payload.EncodedSize];
        payload.Write(bytes);
        return Reply(bytes);
    }

    public static Answer Refuse(VhostUserViolation violation, string explanation) => new(AnswerKind.Refuse, default, violation, explanation);

    public static Answer Close(VhostUserViolation violation, string explanation) => new(AnswerKind.Close, default, violation, explanation);

    public static Answer Ignore(VhostUserViolation violation, string explanation) => new(AnswerKind.Ignore, default, violation, explanation);
}
