namespace Vhost.Conformance;

/// <summary>What a peer did about one message.</summary>
internal enum AnswerKind
{
    /// <summary>It said yes: an acknowledgement of 0.</summary>
    Accepted,

    /// <summary>It said no: another acknowledgement.</summary>
    Refused,

    /// <summary>It sent the message's own reply.</summary>
    Replied,

    /// <summary>It said nothing and went on.</summary>
    Silent,

    /// <summary>It ended the connection.</summary>
    Ended,
}
