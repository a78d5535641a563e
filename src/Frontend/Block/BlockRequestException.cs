using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>The device answered a request with a status other than VIRTIO_BLK_S_OK, or with an answer that cannot be. The client goes on.</summary>
public sealed class BlockRequestException : VhostUserException
{
    internal BlockRequestException(VirtioBlkRequestType operation, ulong offset, ulong length, VirtioBlkStatus status)
        : base(string.Create(CultureInfo.InvariantCulture, $"{operation} of {length} bytes at offset {offset}: {Explain(status)}"))
    {
        Operation = operation;
        Offset = offset;
        Length = length;
        Status = status;
    }

    /// <summary>What was asked.</summary>
    public VirtioBlkRequestType Operation { get; }

    /// <summary>First byte of the request that failed; a long transfer is split into several.</summary>
    public ulong Offset { get; }

    /// <summary>Bytes of the request that failed.</summary>
    public ulong Length { get; }

    /// <summary>The device's answer, or <see cref="BlockCompletion.InvalidAnswer"/>.</summary>
    public VirtioBlkStatus Status { get; }

    private static string Explain(VirtioBlkStatus status) => status switch
    {
        VirtioBlkStatus.IoError => "the device reported an I/O error (VIRTIO_BLK_S_IOERR)",
        VirtioBlkStatus.Unsupported => "the device does not support it (VIRTIO_BLK_S_UNSUPP)",
        BlockCompletion.InvalidAnswer => "the device wrote no status, or says it wrote more or fewer bytes than were asked for",
        _ => string.Create(CultureInfo.InvariantCulture, $"the device answered status {(byte)status}"),
    };
}
