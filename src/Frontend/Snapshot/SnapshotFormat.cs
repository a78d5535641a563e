using System.Buffers.Binary;
using System.Globalization;
using System.Security.Cryptography;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// The bytes of a <see cref="FrontendSnapshot"/> (docs/migration.md). The checksum finds what was damaged on the way; it keeps nobody out who wants in, so everything behind it is checked all the same.
/// </summary>
internal static class SnapshotFormat
{
    internal const uint Version = 1;

    /// <summary>Magic number, version, length, checksum.</summary>
    internal const int HeaderSize = 16 + SHA256.HashSizeInBytes;

    private const int RegionSize = 16;
    private const int RingSize = 33;
    private const string What = "snapshot";

    private static ReadOnlySpan<byte> Magic => "VHOSTFES"u8;

    internal static byte[] Write(FrontendSnapshot snapshot)
    {
        using MemoryStream stream = new();
        using BinaryWriter fields = new(stream);
        fields.Write(new byte[HeaderSize]);
        fields.Write((ulong)snapshot.AcknowledgedFeatures);
        fields.Write((ulong)snapshot.ProtocolFeatures);
        fields.Write(snapshot.IsLogging);
        fields.Write((uint)snapshot.Memory.Count);
        foreach (SnapshotRegion region in snapshot.Memory)
        {
            fields.Write(region.GuestAddress.Value);
            fields.Write(region.Size);
        }

        fields.Write((uint)snapshot.Rings.Count);
        foreach (VringSettings ring in snapshot.Rings)
            WriteRing(fields, ring);
        WriteInflight(fields, snapshot);
        byte[] bytes = stream.ToArray();
        Magic.CopyTo(bytes);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(8), Version);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(12), (uint)(bytes.Length - HeaderSize));
        SHA256.HashData(bytes.AsSpan(HeaderSize), bytes.AsSpan(16));
        return bytes;
    }

    internal static FrontendSnapshot Read(ReadOnlySpan<byte> bytes)
    {
        SavedBytes header = new(bytes, What);
        if (!header.Take(Magic.Length, "magic number").SequenceEqual(Magic))
            throw new InvalidDataException("snapshot: it does not begin with VHOSTFES.");
        if (header.U32("version") is var version && version != Version)
            throw header.Bad("version", version, string.Create(CultureInfo.InvariantCulture, $"{Version}"));
        uint length = header.U32("length");
        ReadOnlySpan<byte> checksum = header.Take(SHA256.HashSizeInBytes, "checksum");
        if (length != (uint)header.Left)
            throw header.Bad("length", length, string.Create(CultureInfo.InvariantCulture, $"{header.Left}, as many bytes as follow"));
        ReadOnlySpan<byte> body = bytes[HeaderSize..];
        if (!SHA256.HashData(body).AsSpan().SequenceEqual(checksum))
            throw new InvalidDataException("snapshot: the checksum is that of other bytes: it was damaged or cut.");
        return ReadBody(body);
    }

    private static FrontendSnapshot ReadBody(ReadOnlySpan<byte> body)
    {
        SavedBytes fields = new(body, What);
        VirtioFeatures features = (VirtioFeatures)fields.U64("features");
        if ((features & (VirtioFeatures.LogAll | VirtioFeatures.VhostUserProtocolFeatures)) != 0)
            throw fields.Bad("features", (ulong)features, "without LOG_ALL and bit 30");
        VhostUserProtocolFeatures protocol = (VhostUserProtocolFeatures)fields.U64("protocol features");
        bool logging = fields.Flag("whether it was logged");
        SnapshotRegion[] memory = ReadMemory(ref fields);
        VringSettings[] rings = ReadRings(ref fields, features, memory);
        VhostUserInflight? area = fields.Flag("whether there is an in-flight region") ? ReadArea(ref fields) : null;
        byte[] content = area is { } known ? fields.Take((int)known.MmapSize, "in-flight region").ToArray() : [];
        fields.RequireEnd();
        return new FrontendSnapshot
        {
            AcknowledgedFeatures = features,
            ProtocolFeatures = protocol,
            IsLogging = logging,
            Memory = memory,
            Rings = rings,
            InflightArea = area,
            InflightContent = content,
        };
    }

    private static SnapshotRegion[] ReadMemory(ref SavedBytes fields)
    {
        SnapshotRegion[] memory = new SnapshotRegion[fields.Count("regions", GuestMemory.MaxRegions, RegionSize)];
        ulong end = 0;
        for (int i = 0; i < memory.Length; i++)
        {
            ulong at = fields.U64("address of a region");
            ulong size = fields.U64("size of a region");
            if (i > 0 && at < end)
                throw fields.Bad("address of a region", at, string.Create(CultureInfo.InvariantCulture, $"{end} or more, behind the one before"));
            if (size == 0 || size > ulong.MaxValue - at)
                throw fields.Bad("size of a region", size, string.Create(CultureInfo.InvariantCulture, $"1 to {ulong.MaxValue - at}, as it begins at {at}"));
            memory[i] = new SnapshotRegion(new GuestAddress(at), size);
            end = at + size;
        }

        return memory;
    }

    private static void WriteRing(BinaryWriter fields, VringSettings ring)
    {
        VringBase at = ring.Base!.Value; // a snapshot has no others
        fields.Write((ushort)ring.Index);
        fields.Write(ring.Size);
        fields.Write(ring.DescriptorTable.Value);
        fields.Write(ring.AvailableRing.Value);
        fields.Write(ring.UsedRing.Value);
        fields.Write(at.AvailableIndex);
        fields.Write(at.UsedIndex);
        fields.Write(ring.Enabled);
    }

    private static VringSettings[] ReadRings(ref SavedBytes fields, VirtioFeatures features, SnapshotRegion[] memory)
    {
        VringSettings[] rings = new VringSettings[fields.Count("rings", VringLimits.MaxQueues, RingSize)];
        for (int i = 0; i < rings.Length; i++)
        {
            VringSettings ring = new()
            {
                Index = fields.U16("number of a ring"),
                Size = fields.U16("size of a ring"),
                DescriptorTable = new GuestAddress(fields.U64("descriptor table")),
                AvailableRing = new GuestAddress(fields.U64("available ring")),
                UsedRing = new GuestAddress(fields.U64("used ring")),
                Base = new VringBase(fields.U16("available index"), fields.U16("used index")),
                Enabled = fields.Flag("whether a ring is enabled"),
            };
            if (i > 0 && ring.Index <= rings[i - 1].Index)
                throw fields.Bad("number of a ring", (ulong)ring.Index, string.Create(CultureInfo.InvariantCulture, $"more than {rings[i - 1].Index}, the one before"));
            Require(ring, features, memory);
            rings[i] = ring;
        }

        return rings;
    }

    private static void Require(VringSettings ring, VirtioFeatures features, SnapshotRegion[] memory)
    {
        RingLayout layout = RingLayout.Of(ring, features);
        try
        {
            layout.Validate();
        }
        catch (ArgumentException e)
        {
            throw new InvalidDataException($"snapshot: {e.Message}", e);
        }

        uint at = ring.Base!.Value.ToWire(features);
        if (!VringBase.TryFromWire(at, features, ring.Size, isAtRest: false, out VringBase known) || known != ring.Base)
            throw new InvalidDataException(string.Create(CultureInfo.InvariantCulture, $"snapshot: ring {ring.Index} cannot go on at {ring.Base}."));
        if ((features & VirtioFeatures.AccessPlatform) != 0)
            return;
        RequireInside(ring, memory, ring.DescriptorTable, layout.DescriptorBytes);
        RequireInside(ring, memory, ring.AvailableRing, layout.AvailableBytes);
        RequireInside(ring, memory, ring.UsedRing, layout.UsedBytes);
    }

    private static void RequireInside(VringSettings ring, SnapshotRegion[] memory, GuestAddress at, ulong bytes)
    {
        if (!Array.Exists(memory, region => at.Value >= region.GuestAddress.Value && bytes <= region.Size && at.Value - region.GuestAddress.Value <= region.Size - bytes))
            throw new InvalidDataException(string.Create(CultureInfo.InvariantCulture, $"snapshot: ring {ring.Index}: {bytes} bytes at {at} are not inside of a region."));
    }

    private static void WriteInflight(BinaryWriter fields, FrontendSnapshot snapshot)
    {
        fields.Write(snapshot.InflightArea is not null);
        if (snapshot.InflightArea is not { } area)
            return;
        fields.Write(area.QueueCount);
        fields.Write(area.QueueSize);
        fields.Write((uint)snapshot.InflightContent.Length);
        fields.Write(snapshot.InflightContent.Span);
    }

    private static VhostUserInflight ReadArea(ref SavedBytes fields)
    {
        ushort queues = fields.U16("queues of the in-flight region");
        if (queues is 0 or > VringLimits.MaxQueues)
            throw fields.Bad("queues of the in-flight region", queues, string.Create(CultureInfo.InvariantCulture, $"1 to {VringLimits.MaxQueues}"));
        ushort size = fields.U16("entries of the in-flight region");
        if (size is 0 or > VringLimits.MaxSize)
            throw fields.Bad("entries of the in-flight region", size, string.Create(CultureInfo.InvariantCulture, $"1 to {VringLimits.MaxSize}"));
        int bytes = fields.Count("size of the in-flight region", int.MaxValue, 1);
        return bytes > 0 ? new VhostUserInflight((ulong)bytes, 0, queues, size) : throw fields.Bad("size of the in-flight region", 0, "1 or more");
    }
}
