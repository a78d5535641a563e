using System.Diagnostics.CodeAnalysis;
using System.Globalization;

namespace Vhost.Protocol;

internal static class PayloadSizes
{
    /// <summary>The first <paramref name="size"/> bytes of a destination, all zero; throws when there are fewer.</summary>
    public static Span<byte> Exactly(Span<byte> destination, int size)
    {
        if (destination.Length < size)
            ThrowTooSmall(destination, size);
        destination = destination[..size];
        destination.Clear();
        return destination;
    }

    [DoesNotReturn]
    private static void ThrowTooSmall(Span<byte> destination, int size) => throw new ArgumentException(
        string.Create(CultureInfo.InvariantCulture, $"The destination has {destination.Length} bytes; {size} are needed."), nameof(destination));
}
