using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>What a hook has done about a message (<see cref="IVhostUserMessageHook.Before"/>).</summary>
public readonly struct MessageDecision
{
    private MessageDecision(Answer answer) => Answer = answer;

    /// <summary>Nothing: the back-end deals with it.</summary>
    public static MessageDecision NotHandled => default;

    /// <summary>Carried out: acknowledged if the front-end asked for that.</summary>
    public static MessageDecision Done => new(Backend.Answer.Done);

    internal Answer? Answer { get; }

    /// <summary>Carried out, and answered.</summary>
    /// <param name="payload">The reply's payload, up to <see cref="VhostUserHeader.MaxPayloadSize"/> bytes; it goes out with the message's own code.</param>
    /// <exception cref="ArgumentException">The payload is longer than a reply may be.</exception>
    public static MessageDecision Reply(ReadOnlyMemory<byte> payload) =>
        payload.Length <= VhostUserHeader.MaxPayloadSize
            ? new(Backend.Answer.Reply(payload))
            : throw new ArgumentException($"{payload.Length} bytes of payload; a reply has at most {VhostUserHeader.MaxPayloadSize}", nameof(payload));

    /// <summary>Not carried out: a negative acknowledgement if the front-end asked for one, else the connection ends.</summary>
    /// <param name="reason">Why, for the log.</param>
    public static MessageDecision Refuse(string reason) => new(Backend.Answer.Refuse(VhostUserViolation.BadValue, reason));
}
