namespace Vhost.Proxy;

/// <summary>What is done to a message.</summary>
public enum FaultAction : byte
{
    /// <summary>It is not handed on; its descriptors are closed.</summary>
    Drop,

    /// <summary>It is handed on after a time, and so is all that follows in its direction.</summary>
    Delay,

    /// <summary>It is handed on twice, its descriptors both times.</summary>
    Duplicate,

    /// <summary>It is handed on behind the next message of its direction.</summary>
    Reorder,

    /// <summary>Bytes of the payload are others.</summary>
    Set,

    /// <summary>The request code in the header is another.</summary>
    Request,

    /// <summary>The flags in the header are others.</summary>
    Flags,

    /// <summary>The size in the header is another; the payload stays as long as it is.</summary>
    Size,

    /// <summary>The payload is cut, or filled up with zeros, to so many bytes, and the header says so.</summary>
    Resize,

    /// <summary>Its descriptors are closed, and it is handed on without any.</summary>
    TakeDescriptors,

    /// <summary>It is handed on with so many eventfds more.</summary>
    AddDescriptors,

    /// <summary>So many bytes of it are handed on; then both ends of its channel are closed, and on the main channel all of them.</summary>
    Cut,

    /// <summary>It is not handed on; both ends of its channel are closed, and on the main channel all of them.</summary>
    Close,
}
