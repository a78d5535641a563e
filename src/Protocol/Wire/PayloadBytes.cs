namespace Vhost.Protocol;

/// <summary>A payload as the bytes of a message.</summary>
internal static class PayloadBytes
{
    internal static byte[] Of<TPayload>(TPayload payload)
        where TPayload : struct, IVhostUserPayload<TPayload>
    {
        byte[] bytes = new byte[payload.EncodedSize];
        payload.Write(bytes);
        return bytes;
    }
}
