using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// What a <see cref="BlockDevice"/> keeps its data in. Offsets and lengths are in bytes; the device has checked that they lie inside
/// <see cref="Length"/> and are multiples of its logical block.
/// </summary>
/// <remarks>
/// <para>Errors: an exception out of any method is answered to the driver as VIRTIO_BLK_S_IOERR; the device goes on.</para>
/// <para>Threading: the data methods are called by the workers of all queues at the same time.</para>
/// </remarks>
public interface IBlockStorage : IDisposable
{
    /// <summary>Length in bytes, a multiple of 512.</summary>
    ulong Length { get; }

    /// <summary>Whether writing is impossible; the device is then read-only whatever its options say.</summary>
    bool IsReadOnly => false;

    /// <summary>
    /// What offsets and lengths must be multiples of, a power of two from 512 to 32768. A device with a smaller logical block refuses the storage.
    /// </summary>
    uint RequestAlignment => 512;

    /// <summary>
    /// Requests after which completions are shown to the driver, 1 to 32; what is outside counts as the nearest of these. So many that showing costs little beside the work, so few that the driver
    /// goes on while the device works on the rest: 8 is best for storage that takes nanoseconds, and fewer for slower ones.
    /// </summary>
    int BatchSize => 4;

    /// <summary>Fills <paramref name="destination"/> completely.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="destination">Guest memory, until the method returns.</param>
    void Read(ulong offset, in GuestBuffers destination);

    /// <summary>Stores <paramref name="source"/> completely.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="source">Guest memory, until the method returns; its bytes may change meanwhile.</param>
    void Write(ulong offset, in GuestBuffers source);

    /// <summary>Returns when everything written so far survives a loss of power.</summary>
    void Flush();

    /// <summary>Forgets what it has kept of the data beside the storage, which another host has written since: the disk has come from there. Nothing was written here since the last <see cref="Flush"/>.</summary>
    void ForgetCache()
    {
    }

    /// <summary>Gives a range up; what it reads as afterwards is open. May do nothing.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Bytes.</param>
    void Discard(ulong offset, ulong length);

    /// <summary>Makes a range read as zeroes.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="mayUnmap">Whether the space may be given back too.</param>
    void WriteZeroes(ulong offset, ulong length, bool mayUnmap);

    /// <summary>Looks at the length again, for storage that somebody else can resize.</summary>
    /// <returns>The new <see cref="Length"/>.</returns>
    ulong RefreshLength() => Length;
}
