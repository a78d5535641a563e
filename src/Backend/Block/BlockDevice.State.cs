using System.Globalization;
using System.IO.Pipelines;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>What moves with the guest: its choice of a write cache, and what it has seen of the disk, which the other one must have too.</summary>
public sealed partial class BlockDevice : IMigratableDevice, ISuspendableDevice
{
    private const uint DeviceId = 2;
    private const uint StateVersion = 1;

    /// <summary>Flushes the storage, so that the other host reads what the guest wrote here, and writes the driver's choice of a write cache, and the capacity (in sectors of 512 bytes) and the size of a block that it knows.</summary>
    /// <inheritdoc/>
    public async ValueTask SaveStateAsync(PipeWriter destination, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(destination);

        // May take minutes, and changes nothing: a migration that is given up goes back to its rings meanwhile.
        if (!_storage.IsReadOnly)
            await Task.Run(_storage.Flush, CancellationToken.None).WaitAsync(cancellationToken).ConfigureAwait(false);
        await DeviceStateFrame.WriteAsync(destination, DeviceId, StateVersion, State(), cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Takes the driver's choice of a write cache, and has the storage forget what it has kept of before. A disk that is smaller than the one that the driver knows, or has other blocks, is an error.</summary>
    /// <inheritdoc/>
    public async ValueTask LoadStateAsync(PipeReader source, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(source);
        Restore(await DeviceStateFrame.ReadAsync(source, DeviceId, StateVersion, cancellationToken).ConfigureAwait(false));
    }

    /// <summary>Does nothing: what was taken has been begun, and the storage has done with it soon. What was not taken stays on the ring.</summary>
    /// <param name="queue">Which queue.</param>
    public void SuspendQueue(int queue)
    {
    }

    private byte[] State()
    {
        using MemoryStream bytes = new();
        using BinaryWriter fields = new(bytes);
        fields.Write(Volatile.Read(ref _capacity));
        fields.Write((uint)_options.LogicalBlockSize);
        fields.Write(_writeBack);
        return bytes.ToArray();
    }

    private void Restore(byte[] state)
    {
        SavedBytes fields = new(state, "state of a block device");
        ulong capacity = fields.U64("capacity");
        uint block = fields.U32("block size");
        bool writeBack = fields.Flag("write cache");
        fields.RequireEnd();
        if (capacity > Volatile.Read(ref _capacity))
            throw fields.Bad("capacity", capacity, string.Create(CultureInfo.InvariantCulture, $"at most that of this disk, {_capacity} sectors"));
        if (block != (uint)_options.LogicalBlockSize)
            throw fields.Bad("block size", block, string.Create(CultureInfo.InvariantCulture, $"that of this disk, {_options.LogicalBlockSize} bytes"));
        _storage.ForgetCache();
        TryWriteConfig(VirtioBlkConfig.WriteBackOffset, [writeBack ? (byte)1 : (byte)0]);
    }
}
