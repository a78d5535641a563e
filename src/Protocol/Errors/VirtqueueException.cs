using System.Globalization;

namespace Vhost.Protocol;

/// <summary>A virtqueue failed; the others go on.</summary>
public sealed class VirtqueueException : VhostUserException
{
    /// <summary>Makes an exception.</summary>
    /// <param name="queueIndex">The queue.</param>
    /// <param name="fault">What the other side did.</param>
    /// <param name="detail">Which index, head or length, and what is allowed.</param>
    public VirtqueueException(int queueIndex, VirtqueueFault fault, string detail)
        : base(string.Create(CultureInfo.InvariantCulture, $"Queue {queueIndex} failed ({fault}): {detail}"))
    {
        QueueIndex = queueIndex;
        Fault = fault;
    }

    /// <summary>The queue.</summary>
    public int QueueIndex { get; }

    /// <summary>What the other side did.</summary>
    public VirtqueueFault Fault { get; }
}
