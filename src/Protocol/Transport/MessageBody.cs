using Microsoft.Extensions.ObjectPool;

namespace Vhost.Protocol;

/// <summary>Header, payload and descriptors of one message while it arrives and while it is looked at; reused.</summary>
internal sealed class MessageBody
{
    /// <summary>Larger buffers are left to the collector instead of staying in the pool.</summary>
    private const int LargestKept = 4096;

    /// <summary>Room is made for so many bytes that were announced; for more, four times as much as has come.</summary>
    private const int LargestOnTrust = 256 << 10;

    private const int Kept = 64;
    private static readonly DefaultObjectPool<MessageBody> _pool = new(new Policy(), Kept);

    private byte[] _buffer = new byte[512];
    private int _received;
    private int _expected = VhostUserHeader.EncodedSize;

    internal ReceivedDescriptors Descriptors { get; } = new();

    internal VhostUserHeader Header { get; private set; }

    /// <summary>Bytes of header and payload received so far.</summary>
    internal int Received => _received;

    /// <summary>Bytes of header and, once that is known, payload.</summary>
    internal int Expected => _expected;

    internal bool HasHeader => _received >= VhostUserHeader.EncodedSize;

    internal bool IsComplete => _received == _expected;

    internal ReadOnlySpan<byte> Payload => _buffer.AsSpan(VhostUserHeader.EncodedSize, _expected - VhostUserHeader.EncodedSize);

    /// <summary>What has come so far, header and all.</summary>
    internal ReadOnlySpan<byte> Arrived => _buffer.AsSpan(0, _received);

    /// <summary>Where the next bytes belong: the rest of the header, then the rest of the payload, as far as there is room; never more.</summary>
    internal Span<byte> Missing
    {
        get
        {
            if (_received == _buffer.Length)
                MakeRoom((int)Math.Min(4L * _buffer.Length, _expected));
            return _buffer.AsSpan(_received, Math.Min(_expected, _buffer.Length) - _received);
        }
    }

    internal static MessageBody Rent() => _pool.Get();

    /// <summary>Closes the descriptors nobody took and makes the body available again.</summary>
    internal void Return() => _pool.Return(this);

    /// <summary>Counts bytes that arrived; true when they completed the header.</summary>
    internal bool Advance(int count)
    {
        bool hadHeader = HasHeader;
        _received += count;
        if (hadHeader || !HasHeader) return false;
        _ = VhostUserHeader.TryRead(_buffer.AsSpan(0, VhostUserHeader.EncodedSize), out VhostUserHeader header);
        Header = header;
        return true;
    }

    /// <summary>Expects a payload whose size has been checked. A peer has to send bytes for more memory than is soon said.</summary>
    internal void ExpectPayload(int size)
    {
        _expected = checked(VhostUserHeader.EncodedSize + size);
        MakeRoom(Math.Min(_expected, LargestOnTrust));
    }

    private void MakeRoom(int bytes)
    {
        if (_buffer.Length < bytes) Array.Resize(ref _buffer, bytes);
    }

    private sealed class Policy : PooledObjectPolicy<MessageBody>
    {
        public override MessageBody Create() => new();

        public override bool Return(MessageBody obj)
        {
            obj.Descriptors.Clear();
            (obj._received, obj._expected) = (0, VhostUserHeader.EncodedSize);
            return obj._buffer.Length <= LargestKept;
        }
    }
}
