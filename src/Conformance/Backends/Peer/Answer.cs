namespace Vhost.Conformance;

/// <summary>What a peer did about one message.</summary>
/// <param name="Kind">Which of the five.</param>
/// <param name="Payload">Of the reply, also of one that came before the end of the connection; otherwise empty.</param>
/// <param name="Descriptors">How many came with the reply; they are closed.</param>
internal readonly record struct Answer(AnswerKind Kind, byte[] Payload, int Descriptors)
{
    public string Text => Kind switch
    {
        AnswerKind.Accepted => "it was acknowledged with 0",
        AnswerKind.Refused => $"a negative acknowledgement, {BitConverter.ToUInt64(Payload)}",
        AnswerKind.Replied => $"a reply of {Payload.Length} bytes",
        AnswerKind.Silent => "nothing was said and the connection went on",
        _ => Payload.Length == sizeof(ulong) ? $"an answer of {BitConverter.ToUInt64(Payload)}, then the connection was ended" : "the connection was ended",
    };
}
