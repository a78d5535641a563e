using System.Text;
using Vhost.Protocol;

namespace Vhost.Conformance.Tests.Mutants;

/// <summary>The block device: 8 MiB in memory, shared by all sessions of a back-end.</summary>
internal sealed class HandDisk(HandBackend backend, bool readOnly)
{
    public const int Capacity = 8 << 20;
    public const int ConfigSize = VirtioBlkConfig.Size;
    private const int Sector = VirtioBlkRequestHeader.SectorSize;

    private readonly byte[] _bytes = new byte[Capacity];
    private readonly Lock _gate = new();

    public byte WriteBack { get; set; } = 1;

    public bool IsReadOnly => readOnly || backend.Is(Sin.WritesToReadOnlyDisk);

    public VirtioBlkFeatures Features => VirtioBlkFeatures.SegMax | VirtioBlkFeatures.BlockSize | VirtioBlkFeatures.Flush | VirtioBlkFeatures.MultiQueue
        | VirtioBlkFeatures.ConfigWriteCache | (IsReadOnly ? VirtioBlkFeatures.ReadOnly : VirtioBlkFeatures.None);

    public byte[] Config()
    {
        byte[] space = new byte[ConfigSize];
        new VirtioBlkConfig
        {
            Capacity = backend.Is(Sin.CapacityInBytes) ? Capacity : (ulong)(Capacity / Sector),
            SegMax = 126,
            BlockSize = Sector,
            WriteBack = WriteBack,
            QueueCount = HandBackend.QueueCount,
        }.Write(space);
        return space;
    }

    public void Erase()
    {
        lock (_gate) Array.Clear(_bytes);
    }

    /// <summary>Carries a request out.</summary>
    /// <returns>Bytes that were written for the driver.</returns>
    public uint Serve(HandChain chain)
    {
        if (chain.ReadableLength < VirtioBlkRequestHeader.Size || chain.WritableLength == 0) return 0;
        byte[] start = new byte[VirtioBlkRequestHeader.Size];
        chain.Read(0, start);
        VirtioBlkRequestHeader.TryRead(start, out VirtioBlkRequestHeader header);
        if (backend.Is(Sin.WritesToReadableBuffer)) chain.SpoilReadable([0xff]);
        ulong input = chain.WritableLength - 1;
        VirtioBlkStatus status = Serve(header, chain, input, out ulong filled);
        if (status != VirtioBlkStatus.Ok && backend.Is(Sin.FailsSilently)) status = VirtioBlkStatus.Ok;
        bool whole = input - filled <= Capacity;
        if (whole) chain.Write(filled, new byte[input - filled]);
        if (!backend.Is(Sin.WritesNoStatus)) chain.Write(backend.Is(Sin.StatusInFirstByte) ? 0 : input, [(byte)status]);
        return whole ? (uint)chain.WritableLength : 1;
    }

    private VirtioBlkStatus Serve(VirtioBlkRequestHeader header, HandChain chain, ulong input, out ulong filled)
    {
        filled = 0;
        switch (header.Type)
        {
            case VirtioBlkRequestType.In:
                return Read(header.Sector, chain, input, out filled);
            case VirtioBlkRequestType.Out:
                return Write(header.Sector, chain, chain.ReadableLength - VirtioBlkRequestHeader.Size);
            case VirtioBlkRequestType.Flush:
                return backend.Is(Sin.RefusesFlush) ? VirtioBlkStatus.Unsupported : VirtioBlkStatus.Ok;
            case VirtioBlkRequestType.GetId:
                return Identify(chain, input, out filled);
            default:
                return backend.Is(Sin.AcceptsUnknownType) ? VirtioBlkStatus.Ok : VirtioBlkStatus.Unsupported;
        }
    }

    private VirtioBlkStatus Read(ulong sector, HandChain chain, ulong length, out ulong filled)
    {
        filled = 0;
        if (backend.Is(Sin.ReadsNextSector)) sector++;
        if (!IsInside(ref sector, length)) return backend.Is(Sin.ReadsZeroesBeyondEnd) ? VirtioBlkStatus.Ok : VirtioBlkStatus.IoError;
        lock (_gate) chain.Write(0, _bytes.AsSpan((int)sector * Sector, (int)length));
        filled = length;
        return VirtioBlkStatus.Ok;
    }

    private VirtioBlkStatus Write(ulong sector, HandChain chain, ulong length)
    {
        if (IsReadOnly && !backend.Is(Sin.WritesToReadOnlyDisk)) return VirtioBlkStatus.IoError;
        if (!IsInside(ref sector, length)) return backend.Is(Sin.DropsWritesBeyondEnd) ? VirtioBlkStatus.Ok : VirtioBlkStatus.IoError;
        if (backend.Is(Sin.LosesWrites)) return VirtioBlkStatus.Ok;
        if (backend.Is(Sin.WritesFirstSectorOnly)) length = Math.Min(length, Sector);
        lock (_gate) chain.Read(VirtioBlkRequestHeader.Size, _bytes.AsSpan((int)sector * Sector, (int)length));
        return VirtioBlkStatus.Ok;
    }

    private VirtioBlkStatus Identify(HandChain chain, ulong length, out ulong filled)
    {
        byte[] id = new byte[VirtioBlkRequestHeader.IdSize];
        Encoding.ASCII.GetBytes("hand-written", id);
        filled = Math.Min(length, (ulong)id.Length);
        chain.Write(0, id.AsSpan(0, (int)filled));
        return VirtioBlkStatus.Ok;
    }

    private bool IsInside(ref ulong sector, ulong length)
    {
        if (length % Sector != 0) return false;
        if (backend.Is(Sin.WrapsSectorNumber)) sector %= Capacity / Sector;
        return length <= Capacity && sector <= (Capacity - length) / Sector;
    }
}
