using System.Globalization;

namespace Vhost.Protocol;

/// <summary>A guest-physical address: what descriptors of a virtqueue and memory regions carry (vhost-user "guest physical address").</summary>
/// <param name="Value">The address in bytes.</param>
public readonly record struct GuestAddress(ulong Value) : IComparable<GuestAddress>
{
    /// <inheritdoc/>
    public int CompareTo(GuestAddress other) => Value.CompareTo(other.Value);

    /// <summary>The address in hexadecimal, with <c>0x</c>.</summary>
    public override string ToString() => AddressText.Hex(Value);

    /// <summary>Tells whether one address lies below another.</summary>
    public static bool operator <(GuestAddress left, GuestAddress right) => left.Value < right.Value;

    /// <summary>Tells whether one address lies above another.</summary>
    public static bool operator >(GuestAddress left, GuestAddress right) => left.Value > right.Value;

    /// <summary>Tells whether one address lies below another or equals it.</summary>
    public static bool operator <=(GuestAddress left, GuestAddress right) => left.Value <= right.Value;

    /// <summary>Tells whether one address lies above another or equals it.</summary>
    public static bool operator >=(GuestAddress left, GuestAddress right) => left.Value >= right.Value;
}

/// <summary>An address in the front-end's own process: what memory regions and SET_VRING_ADDR carry (vhost-user "user address").</summary>
/// <param name="Value">The address in bytes.</param>
public readonly record struct UserAddress(ulong Value) : IComparable<UserAddress>
{
    /// <inheritdoc/>
    public int CompareTo(UserAddress other) => Value.CompareTo(other.Value);

    /// <summary>The address in hexadecimal, with <c>0x</c>.</summary>
    public override string ToString() => AddressText.Hex(Value);

    /// <summary>Tells whether one address lies below another.</summary>
    public static bool operator <(UserAddress left, UserAddress right) => left.Value < right.Value;

    /// <summary>Tells whether one address lies above another.</summary>
    public static bool operator >(UserAddress left, UserAddress right) => left.Value > right.Value;

    /// <summary>Tells whether one address lies below another or equals it.</summary>
    public static bool operator <=(UserAddress left, UserAddress right) => left.Value <= right.Value;

    /// <summary>Tells whether one address lies above another or equals it.</summary>
    public static bool operator >=(UserAddress left, UserAddress right) => left.Value >= right.Value;
}

/// <summary>An I/O virtual address; exists only when VIRTIO_F_ACCESS_PLATFORM is negotiated (vhost-user "IOTLB").</summary>
/// <param name="Value">The address in bytes.</param>
public readonly record struct IoVirtualAddress(ulong Value) : IComparable<IoVirtualAddress>
{
    /// <inheritdoc/>
    public int CompareTo(IoVirtualAddress other) => Value.CompareTo(other.Value);

    /// <summary>The address in hexadecimal, with <c>0x</c>.</summary>
    public override string ToString() => AddressText.Hex(Value);

    /// <summary>Tells whether one address lies below another.</summary>
    public static bool operator <(IoVirtualAddress left, IoVirtualAddress right) => left.Value < right.Value;

    /// <summary>Tells whether one address lies above another.</summary>
    public static bool operator >(IoVirtualAddress left, IoVirtualAddress right) => left.Value > right.Value;

    /// <summary>Tells whether one address lies below another or equals it.</summary>
    public static bool operator <=(IoVirtualAddress left, IoVirtualAddress right) => left.Value <= right.Value;

    /// <summary>Tells whether one address lies above another or equals it.</summary>
    public static bool operator >=(IoVirtualAddress left, IoVirtualAddress right) => left.Value >= right.Value;
}

internal static class AddressText
{
    public static string Hex(ulong value) => string.Create(CultureInfo.InvariantCulture, $"0x{value:x}");
}
