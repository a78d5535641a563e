using System.Text;
using Vhost.Backend;
using Vhost.Protocol;

namespace BlockBackend;

/// <summary>A read-only disk of 1 MiB. The library does the rest: the socket, the memory, the ring, and every lie a peer can tell.</summary>
internal sealed class NumberDisk : IVhostUserDevice
{
    private const int Sectors = 2048;
    private const int SectorSize = VirtioBlkRequestHeader.SectorSize;

    /// <summary>Requests of one call: a driver that goes on asking must not keep its queue from being stopped. What is left comes with the next call.</summary>
    private const int MostRequests = 64;

    public int QueueCount => 1;

    public VirtioFeatures Features => VirtioFeatures.Version1 | (VirtioFeatures)VirtioBlkFeatures.ReadOnly;

    public int ConfigLength => VirtioBlkConfig.ClassicSize;

    public bool TryReadConfig(uint offset, Span<byte> destination)
    {
        Span<byte> config = stackalloc byte[VirtioBlkConfig.ClassicSize];
        new VirtioBlkConfig { Capacity = Sectors }.Write(config);
        config.Slice((int)offset, destination.Length).CopyTo(destination);
        return true;
    }

    public void Process(DeviceVirtqueue queue)
    {
        for (int turn = 0; turn < MostRequests && queue.TryPop(out DescriptorChain request); turn++)
            queue.Complete(request, Answer(request));
    }

    /// <summary>A request is a header that we read, data, and a status byte that we write last. Returns how many bytes we wrote.</summary>
    private static uint Answer(DescriptorChain request)
    {
        if (request.Writable.Length == 0 || !request.Readable.TryRead(out VirtioBlkRequestHeader header))
            return 0;
        uint length = request.Writable.Length - 1;
        VirtioBlkStatus status = header.Type switch
        {
            VirtioBlkRequestType.In when length % SectorSize == 0 && header.Sector <= Sectors && length / SectorSize <= Sectors - header.Sector => VirtioBlkStatus.Ok,
            VirtioBlkRequestType.In or VirtioBlkRequestType.Out => VirtioBlkStatus.IoError,
            _ => VirtioBlkStatus.Unsupported,
        };
        uint written = status == VirtioBlkStatus.Ok ? length : 0;
        Span<byte> sector = stackalloc byte[SectorSize];
        for (uint at = 0; at < written; at += SectorSize)
        {
            sector.Fill((byte)' ');
            Encoding.ASCII.GetBytes($"sector {header.Sector + (at / SectorSize)}\n", sector);
            request.Writable.Slice(at, SectorSize).CopyFrom(sector);
        }

        request.Writable.Slice(length).TryWrite((byte)status);
        return written + 1;
    }
}
