using System.Text;

namespace Vhost.Protocol;

/// <summary><c>struct sockaddr_un</c> from a path.</summary>
internal static class UnixSocketAddress
{
    /// <summary>Family, path, terminating zero.</summary>
    /// <exception cref="ArgumentException">The path is empty, contains a zero, or is longer than the structure.</exception>
    internal static byte[] Encode(string path, string parameterName)
    {
        ArgumentException.ThrowIfNullOrEmpty(path, parameterName);
        int length = Encoding.UTF8.GetByteCount(path);
        if (length > Libc.MaxSocketPath)
        {
            throw new ArgumentException(
                $"The socket path has {length} bytes, Linux allows {Libc.MaxSocketPath}: '{path}'. Use a shorter path, or one relative to the current folder.",
                parameterName);
        }

        if (path.Contains('\0', StringComparison.Ordinal))
            throw new ArgumentException("A socket path cannot contain a zero character.", parameterName);
        byte[] address = new byte[sizeof(ushort) + length + 1];
        address[0] = Libc.AF_UNIX;
        Encoding.UTF8.GetBytes(path, address.AsSpan(sizeof(ushort)));
        return address;
    }
}
