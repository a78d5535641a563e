using Microsoft.Win32.SafeHandles;

namespace Vhost.Protocol;

/// <summary>One received message. It owns the descriptors that came with it: <see cref="Dispose"/> closes every one that nobody took.</summary>
public sealed class VhostUserMessage : IDisposable
{
    private MessageBody? _body;

    internal VhostUserMessage(MessageBody body) => (_body, Header) = (body, body.Header);

    /// <summary>The header as it was received, unchecked except for the size.</summary>
    public VhostUserHeader Header { get; }

    /// <summary>The payload; valid until <see cref="Dispose"/>.</summary>
    /// <exception cref="ObjectDisposedException">The message was disposed.</exception>
    public ReadOnlySpan<byte> Payload => Body.Payload;

    /// <summary>How many descriptors came with the message, taken ones included.</summary>
    /// <exception cref="ObjectDisposedException">The message was disposed.</exception>
    public int DescriptorCount => Body.Descriptors.Count;

    private MessageBody Body => _body ?? throw new ObjectDisposedException(nameof(VhostUserMessage));

    /// <summary>Gives a descriptor to the caller, who closes it from now on.</summary>
    /// <param name="index">0 to <see cref="DescriptorCount"/> - 1, in the order the peer sent them.</param>
    /// <returns>The descriptor, closed on exec.</returns>
    /// <exception cref="ArgumentOutOfRangeException">No such descriptor came.</exception>
    /// <exception cref="InvalidOperationException">The descriptor was taken before.</exception>
    /// <exception cref="ObjectDisposedException">The message was disposed.</exception>
    public SafeFileHandle TakeDescriptor(int index) =>
        Body.Descriptors.Take(index) ?? throw new InvalidOperationException($"Descriptor {index} of this message was taken before.");

    /// <summary>Closes the descriptors nobody took. May be called again.</summary>
    public void Dispose() => Interlocked.Exchange(ref _body, null)?.Return();
}
