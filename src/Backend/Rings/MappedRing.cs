using System.Globalization;
using System.Runtime.InteropServices;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>The three parts of a ring, looked up in a memory table and checked; which of the two formats is filled in follows from the features.</summary>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct MappedRing(SplitRing Split, PackedRing Packed, RingAddresses Addresses)
{
    /// <summary>Misses of a ring that are asked for at once.</summary>
    internal const int MostMisses = 64;

    /// <summary>Descriptors, what the driver tells, what the device tells.</summary>
    internal const int PartCount = 3;

    /// <inheritdoc cref="TryMap(GuestMemory, in VirtqueueSetup, JoinedParts?, out MappedRing, out VhostUserViolation, out string)"/>
    internal static bool TryMap(GuestMemory table, in VirtqueueSetup setup, out MappedRing ring, out VhostUserViolation violation, out string explanation) =>
        TryMap(table, setup, joined: null, out ring, out violation, out explanation);

    /// <summary>Resolves and checks everything about a ring at once. False, and the reason, when a part is not usable.</summary>
    /// <param name="table">The memory.</param>
    /// <param name="setup">What the front-end said.</param>
    /// <param name="joined">Maps parts that lie in several pieces, which the caller accepts when he moves; null without an IOMMU, where there are none.</param>
    /// <param name="ring">The ring.</param>
    /// <param name="violation">What is wrong.</param>
    /// <param name="explanation">The same in words.</param>
    internal static bool TryMap(
        GuestMemory table, in VirtqueueSetup setup, JoinedParts? joined, out MappedRing ring, out VhostUserViolation violation, out string explanation)
    {
        ring = default;
        if (!CheckNumbers(setup, out violation, out explanation))
        {
            return false;
        }

        violation = VhostUserViolation.RingOutsideMemory;
        (Part first, Part second, Part third) = PartsOf(setup);
        Resolver resolver = new(table, setup.Index, joined);
        if (!resolver.TryFind(0, first, out nint descriptors, out explanation)
            || !resolver.TryFind(1, second, out nint driver, out explanation)
            || !resolver.TryFind(2, third, out nint device, out explanation))
        {
            return false;
        }

        SplitRing split = default;
        PackedRing packed = default;
        bool mapped = setup.IsPacked
            ? PackedRing.TryMap(descriptors, driver, device, setup.Size, out packed)
            : SplitRing.TryMap(descriptors, driver, device, setup.Size, out split);
        violation = mapped ? VhostUserViolation.None : VhostUserViolation.RingMisaligned;
        explanation = mapped ? string.Empty : DescribeMisaligned(setup.Index, first, second, third, setup.IsPacked ? "16, 4 and 4" : "16, 2 and 4");
        ring = new MappedRing(split, packed, new RingAddresses(descriptors, driver, device));
        return mapped;
    }

    /// <summary>Whether everything about a ring is right but where it lies, which nobody knows yet.</summary>
    internal static bool IsSound(in VirtqueueSetup setup, out VhostUserViolation violation, out string explanation)
    {
        if (!CheckNumbers(setup, out violation, out explanation))
        {
            return false;
        }

        (Part first, Part second, Part third) = PartsOf(setup);
        foreach (Part part in (ReadOnlySpan<Part>)[first, second, third])
        {
            if (part.Wraps)
            {
                violation = VhostUserViolation.RingOutsideMemory;
                explanation = string.Create(
                    CultureInfo.InvariantCulture, $"queue {setup.Index}: {part.Name} of 0x{part.Length:x} bytes at I/O virtual address 0x{part.Start.Value:x} passes 2^64");
                return false;
            }
        }

        return true;
    }

    /// <summary>What of a ring has no translation, or one that does not allow what is done there.</summary>
    internal static TranslationMiss[] FindMissing(TranslationMap map, in VirtqueueSetup setup)
    {
        List<TranslationMiss> misses = [];
        (Part first, Part second, Part third) = PartsOf(setup);
        foreach (Part part in (ReadOnlySpan<Part>)[first, second, third])
            TranslationMiss.Find(map, part.Start.Value, part.Length, part.Permission, misses, MostMisses);
        return [.. misses];
    }

    /// <summary>The first and the last address of each part, as the front-end says them.</summary>
    internal static (ulong First, ulong Last)[] RangesOf(in VirtqueueSetup setup)
    {
        (Part first, Part second, Part third) = PartsOf(setup);
        return [first.Range, second.Range, third.Range];
    }

    /// <summary>What of a ring that can be mapped has not arrived yet; false: nothing.</summary>
    internal static bool TryGetAbsent(GuestMemory table, in VirtqueueSetup setup, out AbsentRange absent)
    {
        (Part first, Part second, Part third) = PartsOf(setup);
        return table.TryGetAbsent(first.Start, first.Length, out absent)
            || table.TryGetAbsent(second.Start, second.Length, out absent)
            || table.TryGetAbsent(third.Start, third.Length, out absent);
    }

    private static bool CheckNumbers(in VirtqueueSetup setup, out VhostUserViolation violation, out string explanation)
    {
        violation = VhostUserViolation.BadQueueSize;
        if (!CheckSize(setup, out explanation))
        {
            return false;
        }

        violation = VhostUserViolation.BadValue;
        return CheckBase(setup, out explanation);
    }

    private static bool CheckSize(in VirtqueueSetup setup, out string explanation)
    {
        bool valid = setup.IsPacked ? PackedRingLayout.IsValidSize(setup.Size) : SplitRingLayout.IsValidSize(setup.Size);
        string allowed = setup.IsPacked ? "1 to 32768" : "a power of two from 1 to 32768";
        explanation = valid ? string.Empty : string.Create(CultureInfo.InvariantCulture, $"queue {setup.Index}: size {setup.Size}, must be {allowed}");
        return valid;
    }

    private static bool CheckBase(in VirtqueueSetup setup, out string explanation)
    {
        uint limit = setup.Size;
        bool valid = setup.IsPacked
            ? (setup.Base & 0x7FFF) < limit && ((setup.Base >> 16) & 0x7FFF) < limit
            : setup.Base <= ushort.MaxValue;
        string allowed = setup.IsPacked ? "two positions below the size, each with a wrap counter in bit 15" : "an index of 16 bits";
        explanation = valid ? string.Empty : string.Create(CultureInfo.InvariantCulture, $"queue {setup.Index}: base 0x{setup.Base:x}, must be {allowed}");
        return valid;
    }

    private static (Part Descriptors, Part Driver, Part Device) PartsOf(in VirtqueueSetup setup) => setup.IsPacked
        ? (new Part("descriptor ring", setup.DescriptorTable, PackedRingLayout.DescriptorRingSize(setup.Size), IsWritten: true),
            new Part("driver area", setup.AvailableRing, PackedRingLayout.EventAreaSize, IsWritten: false),
            new Part("device area", setup.UsedRing, PackedRingLayout.EventAreaSize, IsWritten: true))
        : (new Part("descriptor table", setup.DescriptorTable, SplitRingLayout.DescriptorTableSize(setup.Size), IsWritten: false),
            new Part("available ring", setup.AvailableRing, SplitRingLayout.AvailableRingSize(setup.Size), IsWritten: false),
            new Part("used ring", setup.UsedRing, SplitRingLayout.UsedRingSize(setup.Size), IsWritten: true));

    private static string DescribeMisaligned(int queue, in Part first, in Part second, in Part third, string alignment) => string.Create(
        CultureInfo.InvariantCulture,
        $"queue {queue}: {first.Name} 0x{first.Start.Value:x}, {second.Name} 0x{second.Start.Value:x}, {third.Name} 0x{third.Start.Value:x} must be aligned to {alignment}");

    [StructLayout(LayoutKind.Auto)]
    private readonly record struct Part(string Name, UserAddress Start, ulong Length, bool IsWritten)
    {
        public bool Wraps => Start.Value > ulong.MaxValue - (Length - 1);

        public (ulong First, ulong Last) Range => (Start.Value, Wraps ? ulong.MaxValue : Start.Value + (Length - 1));

        public VhostUserIotlbPermission Permission => IsWritten ? VhostUserIotlbPermission.ReadWrite : VhostUserIotlbPermission.ReadOnly;
    }

    /// <summary>Finds the parts of one ring in a table.</summary>
    private readonly ref struct Resolver(GuestMemory table, int queue, JoinedParts? joined)
    {
        public bool TryFind(int number, in Part part, out nint address, out string explanation)
        {
            explanation = string.Empty;
            address = 0;
            MemoryPiece[]? pieces = table.FindRingPart(part.Start, part.Length, part.Permission);
            if (pieces is [MemoryPiece whole])
            {
                address = whole.Address;
                return true;
            }

            if (pieces is null || joined is null)
                explanation = Absent(part);
            else if (!joined.TryJoin(number, pieces, part.IsWritten, out address, out string why))
                explanation = string.Create(CultureInfo.InvariantCulture, $"queue {queue}: {part.Name} of 0x{part.Length:x} bytes lies in {pieces.Length} pieces of memory, which cannot be mapped as one: {why}");
            return explanation.Length == 0;
        }

        private string Absent(in Part part) => table.Translations is not null
            ? string.Create(
                CultureInfo.InvariantCulture,
                $"queue {queue}: {part.Name} of 0x{part.Length:x} bytes at I/O virtual address 0x{part.Start.Value:x} is not translated for {(part.IsWritten ? "reading and writing" : "reading")}")
            : string.Create(
                CultureInfo.InvariantCulture,
                $"queue {queue}: {part.Name} of 0x{part.Length:x} bytes at user address 0x{part.Start.Value:x} is not inside one of {table.Regions.Count} memory regions");
    }
}

/// <summary>Where the parts of a ring are mapped.</summary>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct RingAddresses(nint Descriptors, nint Driver, nint Device);
