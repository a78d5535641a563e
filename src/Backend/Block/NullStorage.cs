using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>Keeps nothing and touches nothing, for measuring everything but the storage: reading leaves the driver's buffer as it is.</summary>
public sealed class NullStorage : IBlockStorage
{
    /// <summary>Makes a disk of some length.</summary>
    /// <param name="length">Bytes, a multiple of 512.</param>
    /// <exception cref="ArgumentException">The length is not a multiple of 512.</exception>
    public NullStorage(ulong length) => Length = SectorMath.RequireWholeSectors(length);

    /// <inheritdoc/>
    public ulong Length { get; }

    /// <inheritdoc/>
    public int BatchSize => 8;

    /// <inheritdoc/>
    public void Read(ulong offset, in GuestBuffers destination)
    {
    }

    /// <inheritdoc/>
    public void Write(ulong offset, in GuestBuffers source)
    {
    }

    /// <inheritdoc/>
    public void Flush()
    {
    }

    /// <inheritdoc/>
    public void Discard(ulong offset, ulong length)
    {
    }

    /// <inheritdoc/>
    public void WriteZeroes(ulong offset, ulong length, bool mayUnmap)
    {
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }
}
