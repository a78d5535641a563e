namespace Vhost.Tool;

/// <summary>What went wrong, for people: the message and its cause, without the names of parameters in our code.</summary>
internal static class FailureText
{
    internal static string Of(Exception failure)
    {
        string message = Sentence(failure);
        return failure.InnerException is { } cause && Sentence(cause) is { } reason && !message.Contains(reason, StringComparison.Ordinal)
            ? $"{message} ({reason})"
            : message;
    }

    private static string Sentence(Exception failure) => failure is ArgumentException { ParamName: { } name }
        ? failure.Message.Replace($" (Parameter '{name}')", "", StringComparison.Ordinal)
        : failure.Message;
}
