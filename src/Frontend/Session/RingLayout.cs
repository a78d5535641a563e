using System.Globalization;
using System.Numerics;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>Sizes and alignments of a ring's three parts (virtio specification, "Split Virtqueues" and "Packed Virtqueues").</summary>
internal readonly record struct RingLayout(VringSettings Settings, bool Packed)
{
    private const ulong DescriptorSize = 16;
    private const ulong EventAreaSize = 4;

    private ulong Size => Settings.Size;

    public ulong DescriptorBytes => DescriptorSize * Size;

    public ulong AvailableBytes => Packed ? EventAreaSize : 6 + 2 * Size;

    public ulong UsedBytes => Packed ? EventAreaSize : 6 + 8 * Size;

    public static RingLayout Of(VringSettings settings, VirtioFeatures negotiated) =>
        new(settings, (negotiated & VirtioFeatures.RingPacked) != 0);

    /// <summary>Throws for what no back-end could accept: these are our own caller's mistakes.</summary>
    public void Validate()
    {
        if ((uint)Settings.Index >= VringLimits.MaxQueues)
            throw Invalid($"the number of a ring goes from 0 to {VringLimits.MaxQueues - 1}");
        if (Settings.Size is 0 or > VringLimits.MaxSize || (!Packed && !BitOperations.IsPow2(Settings.Size)))
            throw Invalid($"size {Settings.Size} is not {(Packed ? "a number" : "a power of two")} from 1 to {VringLimits.MaxSize}");
        RequireAlignment("descriptor table", Settings.DescriptorTable, DescriptorSize);
        RequireAlignment("available ring", Settings.AvailableRing, Packed ? EventAreaSize : 2);
        RequireAlignment("used ring", Settings.UsedRing, 4);
    }

    /// <summary>The addresses as the back-end is to be told them; throws when a part is not inside one region.</summary>
    public VhostUserVringAddress Translate(PublishedMemory memory) => new(
        (uint)Settings.Index,
        Flags: 0,
        Translate(memory, "descriptor table", Settings.DescriptorTable, DescriptorBytes),
        Translate(memory, "used ring", Settings.UsedRing, UsedBytes),
        Translate(memory, "available ring", Settings.AvailableRing, AvailableBytes),
        LogGuestAddress: 0);

    /// <summary>The addresses as they are: I/O virtual ones.</summary>
    public VhostUserVringAddress Untranslated() => new(
        (uint)Settings.Index,
        Flags: 0,
        new UserAddress(Settings.DescriptorTable.Value),
        new UserAddress(Settings.UsedRing.Value),
        new UserAddress(Settings.AvailableRing.Value),
        LogGuestAddress: 0);

    private UserAddress Translate(PublishedMemory memory, string part, GuestAddress address, ulong length) =>
        memory.TryTranslate(address, length, out UserAddress user)
            ? user
            : throw Invalid($"the {part} ({length} bytes at {address}) is not inside one region of the memory table of {memory.Count}");

    private void RequireAlignment(string part, GuestAddress address, ulong alignment)
    {
        if (address.Value % alignment != 0)
            throw Invalid($"the {part} at {address} is not aligned to {alignment} bytes");
    }

    private ArgumentException Invalid(string why) => new(string.Create(CultureInfo.InvariantCulture, $"Ring {Settings.Index}: {why}."));
}
