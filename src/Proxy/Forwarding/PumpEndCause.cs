namespace Vhost.Proxy;

/// <summary>Why one end's messages are no longer handed on.</summary>
internal enum PumpEndCause : byte
{
    /// <summary>Something that ends the other direction too: a fault, a message that is too long, the proxy was stopped.</summary>
    Broken,

    /// <summary>That end says no more, and all that it has said was handed on.</summary>
    SaidAll,

    /// <summary>The other end does not take it any more.</summary>
    NotTaken,
}
