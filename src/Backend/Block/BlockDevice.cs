using System.Globalization;
using System.Text;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// A disk (virtio 1.2, 5.2 "Block Device") over any <see cref="IBlockStorage"/>: read, write, flush, discard, write zeroes and identity,
/// on one or several queues.
/// </summary>
/// <remarks>
/// <para>Nothing a driver sends ends in an exception: a bad request gets the status the specification names, and a chain without a whole header or without a status
/// byte is given back with used length 0.</para>
/// <para>Durability: with the write cache on, completed writes are durable after a flush; with it off, or for a driver that took
/// neither FLUSH nor CONFIG_WCE, every write is made durable before it completes.</para>
/// <para>Threading: made for <see cref="VhostUserBackend"/>; the other members may be used from any thread.</para>
/// </remarks>
/// <example>
/// <code>
/// using FileStorage image = FileStorage.Open("/var/lib/disk.img");
/// await using VhostUserBackend backend = new(new BlockDevice(image));
/// await backend.ListenAsync("/run/disk.sock", stopping);
/// </code>
/// </example>
public sealed partial class BlockDevice
{
    /// <summary>Ranges that a discard request may have.</summary>
    public const int MaxRanges = 16;

    /// <summary>Sectors that one such range may have: 1 GiB.</summary>
    public const uint MaxRangeSectors = 1 << 21;

    /// <summary>
    /// Sectors that a write-zeroes request may have in all: 64 MiB. Not every storage has a short way to zeroes, and a request must end while others wait.
    /// One range is announced; more are taken as long as their sum is not above this.
    /// </summary>
    public const uint MaxZeroesSectors = 1 << 17;

    private const VirtioFeatures RingFeatures =
        VirtioFeatures.Version1 | VirtioFeatures.IndirectDescriptors | VirtioFeatures.EventIndex | VirtioFeatures.InOrder | VirtioFeatures.RingPacked;

    private const VirtioBlkFeatures CommonFeatures =
        VirtioBlkFeatures.SizeMax | VirtioBlkFeatures.SegMax | VirtioBlkFeatures.BlockSize | VirtioBlkFeatures.Flush | VirtioBlkFeatures.Topology
        | VirtioBlkFeatures.ConfigWriteCache | VirtioBlkFeatures.MultiQueue;

    private readonly IBlockStorage _storage;
    private readonly FileStorage? _file;
    private readonly BlockDeviceOptions _options;
    private readonly BlockRequestCounters[] _counters;
    private readonly byte[] _id = new byte[VirtioBlkRequestHeader.IdSize];
    private readonly uint _blockMask;
    private readonly int _batchSize;
    private readonly bool _readOnly;
    private ulong _capacity;
    private VirtioBlkFeatures _acknowledged;
    private volatile bool _writeBack;
    private volatile bool _writeThrough = true;

    /// <summary>Makes a device.</summary>
    /// <param name="storage">Where the data is. Stays the caller's, who disposes it after the back-end.</param>
    /// <param name="options">The device's shape; null for the defaults.</param>
    /// <exception cref="ArgumentException">An option is out of range, or the storage is smaller than one logical block.</exception>
    public BlockDevice(IBlockStorage storage, BlockDeviceOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(storage);
        _storage = storage;
        _file = storage as FileStorage;
        _options = options ?? new BlockDeviceOptions();
        _options.Validate();
        if (storage.RequestAlignment > _options.LogicalBlockSize)
        {
            throw new ArgumentException(string.Create(
                CultureInfo.InvariantCulture,
                $"LogicalBlockSize {_options.LogicalBlockSize}: the storage needs requests that are multiples of {storage.RequestAlignment} bytes, so at least that."));
        }

        _readOnly = _options.ReadOnly || storage.IsReadOnly;
        _blockMask = (uint)_options.LogicalBlockSize - 1;
        _batchSize = Math.Clamp(storage.BatchSize, 1, DeviceVirtqueue.MaxBurst);
        _counters = new BlockRequestCounters[_options.Queues];
        _capacity = CapacityOf(storage.Length);
        if (_capacity == 0)
            throw new ArgumentException(string.Create(CultureInfo.InvariantCulture, $"The storage has {storage.Length} bytes, less than one block of {_options.LogicalBlockSize}."), nameof(storage));
        Encoding.ASCII.GetBytes(_options.Serial, _id);
        _writeBack = _options.WriteCache;
    }

    /// <inheritdoc/>
    public int QueueCount => _options.Queues;

    /// <inheritdoc/>
    public ushort MaxQueueSize => _options.MaxQueueSize;

    /// <inheritdoc/>
    public VirtioFeatures Features => RingFeatures | (VirtioFeatures)(ulong)BlockFeatures;

    /// <inheritdoc/>
    public int ConfigLength => VirtioBlkConfig.ClassicSize;

    /// <summary>Whether the device refuses to change the disk.</summary>
    public bool IsReadOnly => _readOnly;

    /// <summary>What the driver sees, in bytes: the storage's length in whole logical blocks.</summary>
    public ulong CapacityBytes => Volatile.Read(ref _capacity) << SectorMath.SectorShift;

    /// <summary>Counters; exact when no queue runs.</summary>
    public BlockDeviceStatistics Statistics
    {
        get
        {
            BlockDeviceStatistics sum = default;
            foreach (ref readonly BlockRequestCounters one in _counters.AsSpan())
                sum = new BlockDeviceStatistics(sum.Served + one.Served, sum.Failed + one.Failed, sum.Dropped + one.Dropped);
            return sum;
        }
    }

    /// <summary>The last error of the storage that was answered with VIRTIO_BLK_S_IOERR; null while there is none.</summary>
    public Exception? LastStorageError { get; private set; }

    /// <summary>Every change is answered when it is durable.</summary>
    internal bool WritesThrough => _writeThrough;

    private VirtioBlkFeatures BlockFeatures => CommonFeatures
        | (_readOnly ? VirtioBlkFeatures.ReadOnly : VirtioBlkFeatures.Discard | VirtioBlkFeatures.WriteZeroes);

    /// <summary>
    /// Looks at the storage's length again and, when it has changed, tells the driver by a configuration change. Call it when an image was resized.
    /// </summary>
    /// <param name="backend">The back-end that serves this device.</param>
    /// <param name="cancellationToken">Gives up telling the driver; the new capacity is in force all the same.</param>
    /// <returns>Whether the capacity has changed.</returns>
    /// <exception cref="IOException">The storage cannot tell its length, or it is smaller than one logical block; nothing was changed.</exception>
    public async ValueTask<bool> RefreshCapacityAsync(VhostUserBackend backend, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(backend);
        ulong capacity = CapacityOf(_storage.RefreshLength());
        if (capacity == 0)
            throw new IOException($"The storage has shrunk to less than one block of {_options.LogicalBlockSize.ToString(CultureInfo.InvariantCulture)} bytes.");
        if (Interlocked.Exchange(ref _capacity, capacity) == capacity)
            return false;
        await backend.NotifyConfigChangedAsync(cancellationToken).ConfigureAwait(false);
        return true;
    }

    /// <inheritdoc/>
    public bool TryReadConfig(uint offset, Span<byte> destination)
    {
        if (offset > VirtioBlkConfig.ClassicSize || destination.Length > VirtioBlkConfig.ClassicSize - (int)offset)
            return false;
        Span<byte> all = stackalloc byte[VirtioBlkConfig.ClassicSize];
        Config().Write(all);
        all.Slice((int)offset, destination.Length).CopyTo(destination);
        return true;
    }

    /// <summary>Takes the one byte that a driver may write: the write cache, 0 or 1.</summary>
    /// <inheritdoc/>
    public bool TryWriteConfig(uint offset, ReadOnlySpan<byte> source)
    {
        if (offset != VirtioBlkConfig.WriteBackOffset || source.Length != 1 || source[0] > 1)
            return false;
        bool wasCached = _writeBack;
        UseCache(source[0] == 1);
        if (wasCached && source[0] == 0)
            FlushCached();
        return true;
    }

    /// <summary>Takes the write cache out of a saved configuration space; all else follows from the storage and the options.</summary>
    /// <inheritdoc/>
    public bool TryRestoreConfig(uint offset, ReadOnlySpan<byte> source)
    {
        long at = VirtioBlkConfig.WriteBackOffset - (long)offset;
        return at < 0 || at >= source.Length || TryWriteConfig(VirtioBlkConfig.WriteBackOffset, source.Slice((int)at, 1));
    }

    /// <inheritdoc/>
    public void Configure(VirtioFeatures acknowledged)
    {
        _acknowledged = (VirtioBlkFeatures)(ulong)acknowledged;
        ChooseDurability();
    }

    /// <inheritdoc/>
    public void Reset()
    {
        // A guest's choice of writing through stays: a front-end resets a paused guest's device too, and does not say the choice again. A driver that begins afresh reads it.
        // Its choice of a cache where the options want none is its own, and goes.
        _writeBack &= _options.WriteCache;
        _acknowledged = VirtioBlkFeatures.None;
        ChooseDurability();
    }

    /// <summary>Where the data is.</summary>
    internal IBlockStorage Storage => _storage;

    /// <summary>For a request that is answered after the turn in which it was taken. On the worker of its queue.</summary>
    /// <returns>The used length.</returns>
    internal uint Answer(int queue, DetachedChain chain, VirtioBlkStatus status, uint written)
    {
        chain.TryWriteLast((byte)status);
        return Count(ref _counters[queue], status, written);
    }

    /// <summary>Notes an error that is answered with VIRTIO_BLK_S_IOERR.</summary>
    internal void StorageFailed(Exception error) => LastStorageError = error;

    /// <summary>What was answered under the cache becomes durable before the driver stops flushing. What is answered meanwhile is durable by itself: the cache is off already.</summary>
    private void FlushCached()
    {
        Interlocked.MemoryBarrier(); // a write that was done before the flush begins, or sees that there is no cache
        try
        {
            _storage.Flush();
        }
        catch
        {
            UseCache(true);
            throw;
        }
    }

    private void UseCache(bool cached)
    {
        _writeBack = cached;
        ChooseDurability();
    }

    /// <summary>
    /// virtio 1.2, 5.2.5: the driver's choice where it may choose, else a cache only for a driver that knows how to flush it.
    /// </summary>
    private void ChooseDurability()
    {
        bool cache = (_acknowledged & (VirtioBlkFeatures.ConfigWriteCache | VirtioBlkFeatures.Flush)) != 0;
        _writeThrough = !cache || !_writeBack;
    }

    private ulong CapacityOf(ulong length) => (length & ~(ulong)_blockMask) >> SectorMath.SectorShift;

    private VirtioBlkConfig Config()
    {
        uint blockSectors = (_blockMask + 1) >> SectorMath.SectorShift;
        return new VirtioBlkConfig
        {
            Capacity = Volatile.Read(ref _capacity),
            SizeMax = (uint)_options.MaxSegmentSize,
            SegMax = (uint)_options.MaxSegments,
            BlockSize = _blockMask + 1,
            PhysicalBlockExponent = (byte)Math.Max(0, 12 - int.Log2(_options.LogicalBlockSize)),
            MinIoSize = 1,
            WriteBack = _writeBack ? (byte)1 : (byte)0,
            QueueCount = (ushort)_options.Queues,
            MaxDiscardSectors = _readOnly ? 0 : MaxRangeSectors,
            MaxDiscardSegments = _readOnly ? 0u : MaxRanges,
            DiscardSectorAlignment = _readOnly ? 0 : blockSectors,
            MaxWriteZeroesSectors = _readOnly ? 0 : MaxZeroesSectors,
            MaxWriteZeroesSegments = _readOnly ? 0u : 1,
            WriteZeroesMayUnmap = _readOnly ? (byte)0 : (byte)1,
        };
    }
}
