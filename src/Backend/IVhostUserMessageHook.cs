using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// An application's way into the session (<see cref="VhostUserBackendOptions.MessageHook"/>): it sees each message before the back-end acts on it, may carry it out itself, the codes that this
/// back-end does not know among them, and hears what became of it.
/// </summary>
/// <remarks>Threading: called from the session, one call at a time; the front-end waits meanwhile. What a hook throws refuses the message.</remarks>
public interface IVhostUserMessageHook
{
    /// <summary>A message has come. Its size, flags and descriptors fit what the protocol says of its code, if that code is assigned; nothing else is checked yet.</summary>
    /// <param name="message">The message. Valid during the call; a descriptor that is taken out of it is the hook's to close, and is missing if the message is left to the back-end.</param>
    /// <param name="state">What is negotiated.</param>
    /// <returns>What was done. Default: <see cref="MessageDecision.NotHandled"/>.</returns>
    MessageDecision Before(VhostUserMessage message, NegotiatedState state) => MessageDecision.NotHandled;

    /// <summary>The back-end or the hook has decided about a message; the answer, if there is one, has not gone out yet.</summary>
    /// <param name="header">The message's header.</param>
    /// <param name="carriedOut">False: it was refused or ignored, or the connection ends.</param>
    void After(VhostUserHeader header, bool carriedOut)
    {
    }
}
