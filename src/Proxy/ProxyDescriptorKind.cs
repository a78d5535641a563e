namespace Vhost.Proxy;

/// <summary>What kind of file a descriptor stands for, as far as the protocol makes use of it.</summary>
public enum ProxyDescriptorKind : byte
{
    /// <summary>Anything that is none of the others.</summary>
    Other,

    /// <summary>Memory: a memfd, or a file on tmpfs or hugetlbfs.</summary>
    Memory,

    /// <summary>A file on a disk.</summary>
    File,

    /// <summary>An eventfd, for kicks, calls and errors.</summary>
    Event,

    /// <summary>A socket, for a channel.</summary>
    Socket,

    /// <summary>A pipe, for the state of a device or for notifications.</summary>
    Pipe,

    /// <summary>A userfaultfd, of a postcopy migration.</summary>
    UserFaults,
}
