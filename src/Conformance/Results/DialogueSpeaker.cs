namespace Vhost.Conformance;

/// <summary>Whose line it is.</summary>
public enum DialogueSpeaker
{
    /// <summary>The suite said it.</summary>
    Suite,

    /// <summary>The peer said it.</summary>
    Peer,

    /// <summary>Nobody: what happened in shared memory, on an event descriptor or to the connection.</summary>
    Note,
}
