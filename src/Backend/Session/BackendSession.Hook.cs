using Vhost.Protocol;

namespace Vhost.Backend;

// The application's own way with messages.
internal sealed partial class BackendSession
{
    private Answer? AskHook(IVhostUserMessageHook hook, VhostUserMessage message)
    {
        try
        {
            return hook.Before(message, _state).Answer;
        }
        catch (Exception e)
        {
            BackendLog.DeviceFailed(_logger, e);
            return Answer.Refuse(VhostUserViolation.BadValue, $"{NameOf(message)}: the message hook threw {e.GetType().Name}: {e.Message}");
        }
    }

    private void TellHook(VhostUserHeader header, Answer answer)
    {
        try
        {
            _options.MessageHook?.After(header, answer.Kind is AnswerKind.Done or AnswerKind.Reply);
        }
        catch (Exception e)
        {
            if (_budget.TryTake())
                BackendLog.EventHandlerFailed(_logger, e);
        }
    }
}
