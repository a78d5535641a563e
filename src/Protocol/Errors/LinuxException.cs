using System.Globalization;
using System.Runtime.InteropServices;

namespace Vhost.Protocol;

/// <summary>A system call failed.</summary>
public sealed class LinuxException : IOException
{
    /// <summary>Makes an exception.</summary>
    /// <param name="operation">The call and what it was called on.</param>
    /// <param name="errno">The error number, captured in the statement right after the call.</param>
    public LinuxException(string operation, int errno)
        : base(string.Create(
            CultureInfo.InvariantCulture, $"{operation}: {Marshal.GetPInvokeErrorMessage(errno)} ({ErrnoNames.Of(errno)} {errno})"))
    {
        Operation = operation;
        Errno = errno;
    }

    /// <summary>The call and what it was called on.</summary>
    public string Operation { get; }

    /// <summary>The error number of Linux.</summary>
    public int Errno { get; }
}
