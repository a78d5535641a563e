using System.Buffers;
using System.Buffers.Binary;
using System.Globalization;
using System.IO.Pipelines;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// What stands around the state of each of this library's own devices, little-endian: the virtio device id (u32), the version of what follows (u32), its length (u32). A device reads the versions that it knows.
/// </summary>
internal static class DeviceStateFrame
{
    private const int HeaderSize = 12;

    /// <summary>The largest state of a device here; that of a network device with all its tables has some 4 KiB.</summary>
    private const int MostBytes = 1 << 20;

    internal static async ValueTask WriteAsync(PipeWriter destination, uint device, uint version, ReadOnlyMemory<byte> state, CancellationToken cancellationToken)
    {
        byte[] header = new byte[HeaderSize];
        BinaryPrimitives.WriteUInt32LittleEndian(header, device);
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(4), version);
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(8), (uint)state.Length);
        await destination.WriteAsync(header, cancellationToken).ConfigureAwait(false);
        await destination.WriteAsync(state, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Reads to the end.</summary>
    /// <returns>What stands inside.</returns>
    /// <exception cref="InvalidDataException">It is of another device or version, or of another length than it says.</exception>
    internal static async ValueTask<byte[]> ReadAsync(PipeReader source, uint device, uint version, CancellationToken cancellationToken)
    {
        ReadResult read;
        while (true)
        {
            read = await source.ReadAsync(cancellationToken).ConfigureAwait(false);
            if (read.Buffer.Length > MostBytes)
                throw new InvalidDataException(string.Create(CultureInfo.InvariantCulture, $"device state: more than {MostBytes} bytes"));
            if (read.IsCompleted)
                break;
            source.AdvanceTo(read.Buffer.Start, read.Buffer.End);
        }

        byte[] bytes = read.Buffer.ToArray();
        source.AdvanceTo(read.Buffer.End);
        return Inside(bytes, device, version);
    }

    private static byte[] Inside(byte[] bytes, uint device, uint version)
    {
        SavedBytes fields = new(bytes, "device state");
        if (fields.U32("device id") is var id && id != device)
            throw fields.Bad("device id", id, string.Create(CultureInfo.InvariantCulture, $"{device}"));
        if (fields.U32("version") is var said && said != version)
            throw fields.Bad("version", said, string.Create(CultureInfo.InvariantCulture, $"{version}"));
        byte[] inside = fields.Take(fields.Count("length", MostBytes, 1), "state").ToArray();
        fields.RequireEnd();
        return inside;
    }
}
