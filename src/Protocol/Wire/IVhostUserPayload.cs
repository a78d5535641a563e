namespace Vhost.Protocol;

/// <summary>A payload of fixed layout. Codecs are pure and do not allocate; numbers are in the byte order of the host (vhost-user "Message Specification").</summary>
/// <typeparam name="TSelf">The payload itself.</typeparam>
public interface IVhostUserPayload<TSelf>
    where TSelf : struct, IVhostUserPayload<TSelf>
{
    /// <summary>Bytes that <see cref="Write"/> fills.</summary>
    int EncodedSize { get; }

    /// <summary>Reads a payload.</summary>
    /// <param name="payload">The whole payload, no more.</param>
    /// <param name="value">What it says; default when the method returns false.</param>
    /// <returns>False when the payload does not have a size of this layout. Contents are not judged.</returns>
    static abstract bool TryRead(ReadOnlySpan<byte> payload, out TSelf value);

    /// <summary>Writes <see cref="EncodedSize"/> bytes to the start of <paramref name="destination"/>; padding is written as zero.</summary>
    /// <exception cref="ArgumentException">The destination is too small.</exception>
    void Write(Span<byte> destination);
}
