using System.Security.Cryptography;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>An entropy device (virtio 1.2, 5.4 "Entropy Device"): fills the driver's buffers with bytes of the system's random number generator.</summary>
/// <remarks>
/// A request gets at most <see cref="MaxBytesPerRequest"/> bytes, whatever the size of its buffers, and is told how many; drivers ask again for more. One whose buffers cannot be
/// written gets none.
/// </remarks>
/// <example>
/// <code>
/// await using VhostUserBackend backend = new(new EntropyDevice());
/// await backend.ListenAsync("/run/rng.sock", stopping);
/// </code>
/// </example>
public sealed class EntropyDevice : IVhostUserDevice
{
    /// <summary>Requests of one turn: a driver that never stops must not keep the worker from its commands.</summary>
    private const int MostRequests = 64;

    /// <summary>And neither must one that asks for much at once: the bytes of a turn, and the most that <see cref="MaxBytesPerRequest"/> may be.</summary>
    private const int MostBytes = 1 << 20;

    private readonly byte[] _bytes = new byte[4096];
    private readonly int _perRequest = 64 << 10;
    private long _requests;
    private long _given;

    /// <summary>The most bytes that one request gets, 1 to 1 MiB. Default: 64 KiB.</summary>
    /// <exception cref="ArgumentOutOfRangeException">Another number.</exception>
    public int MaxBytesPerRequest
    {
        get => _perRequest;
        init
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(value, 1);
            ArgumentOutOfRangeException.ThrowIfGreaterThan(value, MostBytes);
            _perRequest = value;
        }
    }

    /// <summary>Requests answered so far. Any thread.</summary>
    public long Requests => Volatile.Read(ref _requests);

    /// <summary>Bytes given so far. Any thread.</summary>
    public long Bytes => Volatile.Read(ref _given);

    /// <inheritdoc/>
    public int QueueCount => 1;

    /// <inheritdoc/>
    public bool ReportsAllWrites => true;

    /// <inheritdoc/>
    public VirtioFeatures Features => VirtioFeatures.Version1 | VirtioFeatures.AnyLayout | VirtioFeatures.IndirectDescriptors | VirtioFeatures.EventIndex
        | VirtioFeatures.InOrder | VirtioFeatures.RingPacked;

    /// <inheritdoc/>
    public void Process(DeviceVirtqueue queue)
    {
        ArgumentNullException.ThrowIfNull(queue);
        uint all = 0;
        for (int turn = 0; turn < MostRequests && all < MostBytes && queue.TryPop(out DescriptorChain chain); turn++)
        {
            uint given = Fill(chain.Writable);
            all += given;
            queue.Complete(chain, given);
            Volatile.Write(ref _requests, _requests + 1);
            Volatile.Write(ref _given, _given + given);
        }
    }

    private uint Fill(GuestBuffers buffers)
    {
        uint most = Math.Min(buffers.Length, (uint)_perRequest);
        Span<byte> bytes = _bytes;
        for (uint done = 0; done < most;)
        {
            Span<byte> piece = bytes[..(int)Math.Min((uint)bytes.Length, most - done)];
            RandomNumberGenerator.Fill(piece);
            buffers.Slice(done).CopyFrom(piece);
            done += (uint)piece.Length;
        }

        CryptographicOperations.ZeroMemory(bytes); // the guest alone knows its bytes
        return most;
    }
}
