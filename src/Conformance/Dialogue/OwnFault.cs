using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>What this process or its system lacks, or does with a descriptor of its own that cannot be done: no peer is to blame for it.</summary>
internal static class OwnFault
{
    private const int TooManyUnderWay = 109; // ETOOMANYREFS: sendmsg(2) with descriptors

    /// <summary>Whether a failure says so, itself or by its cause.</summary>
    public static bool Is(Exception failure) => failure switch
    {
        LinuxException own => IsOwn(own.Errno),
        VhostUserProtocolException { Violation: VhostUserViolation.DescriptorsTruncated } => true,
        VhostUserException { InnerException: LinuxException cause } => IsOwn(cause.Errno),
        _ => false,
    };

    private static bool IsOwn(int errno) =>
        errno is Libc.EMFILE or Libc.ENFILE or Libc.ENOMEM or Libc.ENOBUFS or Libc.EBADF or Libc.EINVAL or TooManyUnderWay;
}
