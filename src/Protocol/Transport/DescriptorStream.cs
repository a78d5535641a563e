using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using Microsoft.Win32.SafeHandles;

namespace Vhost.Protocol;

/// <summary>
/// One end of a pipe, or of a stream socket, of which somebody else has the other: what the state of a device travels over. It never makes a thread wait for bytes, each wait is bounded, and so is the
/// number of bytes.
/// </summary>
/// <remarks>
/// <para>Who has sent the descriptor may have kept it as well, and clear O_NONBLOCK or take the bytes away at any moment. So neither that flag nor what poll(2) has said is relied on: each call is one that
/// cannot wait (<see cref="Calls"/>).</para>
/// <para>Ownership: has the descriptor; disposing closes it, which for a writer is the end of what it wrote.</para>
/// <para>Threading: one operation at a time.</para>
/// </remarks>
internal sealed class DescriptorStream : Stream
{
    /// <summary>After bytes that were there for poll(2) and then were not.</summary>
    private static readonly TimeSpan _pause = TimeSpan.FromMilliseconds(1);

    private readonly SafeFileHandle _descriptor;
    private readonly Calls _calls;
    private readonly bool _writes;
    private readonly DescriptorStreamLimits _limits;
    private ReactorRegistration? _registration;

    private DescriptorStream(SafeFileHandle descriptor, Calls calls, bool writes, DescriptorStreamLimits limits) =>
        (_descriptor, _calls, _writes, _limits) = (descriptor, calls, writes, limits);

    /// <summary>Those that cannot wait, by what the descriptor is.</summary>
    private enum Calls
    {
        /// <summary>A description that nobody else has: its O_NONBLOCK stays.</summary>
        OfOurOwn,

        /// <summary>recv(2) and send(2) with MSG_DONTWAIT.</summary>
        OfASocket,

        /// <summary>preadv2(2) and pwritev2(2) with RWF_NOWAIT.</summary>
        OfASharedPipe,
    }

    public override bool CanRead => !_writes;

    public override bool CanWrite => _writes;

    public override bool CanSeek => false;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => Moved;
        set => throw new NotSupportedException();
    }

    /// <summary>Bytes that went over it.</summary>
    internal long Moved { get; private set; }

    /// <summary>Takes an end over.</summary>
    /// <param name="descriptor">Ownership passes to the stream, also when this throws.</param>
    /// <param name="writes">Which end it must be.</param>
    /// <param name="limits">What it may take.</param>
    /// <param name="mayReopen">Whether a pipe is opened anew where that can be done. For tests.</param>
    /// <exception cref="ArgumentException">It is neither a pipe nor a stream socket, or the other end, or cannot be used without waiting; the message says what it is.</exception>
    internal static DescriptorStream Open(SafeFileHandle descriptor, bool writes, DescriptorStreamLimits limits, bool mayReopen = true)
    {
        try
        {
            if (WhyNot(descriptor, writes) is { } why)
                throw new ArgumentException(why, nameof(descriptor));
            if (DescriptorInfo.Kind(descriptor) == FileKind.Socket)
                return new DescriptorStream(descriptor, Calls.OfASocket, writes, limits);
            if (mayReopen && Libc.TryReopenPipe(descriptor, writes) is { } own)
            {
                descriptor.Dispose();
                return new DescriptorStream(own, Calls.OfOurOwn, writes, limits);
            }

            return PipesCanBeReadWithoutWaiting()
                ? new DescriptorStream(descriptor, Calls.OfASharedPipe, writes, limits)
                : throw new ArgumentException("This user may not open the pipe anew, and before Linux 6.4 there is no other way to use it without waiting for its owner.", nameof(descriptor));
        }
        catch
        {
            descriptor.Dispose();
            throw;
        }
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        // One byte more than is allowed is enough to know that there are more.
        int most = (int)Math.Min(buffer.Length, _limits.MostBytes - Moved + 1);
        int count = await RepeatAsync(() => ReadOnce(buffer.Span[..most]), "read", cancellationToken).ConfigureAwait(false);
        Count(count);
        return count;
    }

    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        while (buffer.Length > 0)
        {
            ReadOnlyMemory<byte> rest = buffer;
            int count = await RepeatAsync(() => WriteOnce(rest.Span), "write", cancellationToken).ConfigureAwait(false);
            Count(count);
            buffer = buffer[count..];
        }
    }

    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        WriteAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override void Flush()
    {
        // Nothing is kept here.
    }

    public override Task FlushAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public override int Read(byte[] buffer, int offset, int count) => throw AsynchronousOnly();

    public override void Write(byte[] buffer, int offset, int count) => throw AsynchronousOnly();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _registration?.Dispose();
            _descriptor.Dispose();
        }

        base.Dispose(disposing);
    }

    private static string? WhyNot(SafeFileHandle descriptor, bool writes)
    {
        bool isChannel = !DescriptorInfo.IsPathOnly(descriptor) && (IsStreamSocket(descriptor) || DescriptorInfo.IsUnnamedPipe(descriptor));
        if (!isChannel)
            return $"A pipe without a name or a stream socket is needed; this descriptor is: {DescriptorInfo.Describe(descriptor)}.";
        int access = Libc.StatusFlags(descriptor) & Libc.O_ACCMODE;
        return access == Libc.O_RDWR || (access == Libc.O_WRONLY) == writes ? null : $"The end of a pipe that can be {(writes ? "written" : "read")} is needed, and this is the other one.";
    }

    private static bool IsStreamSocket(SafeFileHandle descriptor) =>
        DescriptorInfo.Kind(descriptor) == FileKind.Socket && Libc.TryGetOption(descriptor, Libc.SO_TYPE, out int type) && type == Libc.SOCK_STREAM;

    /// <summary>Asks the kernel about a pipe of ours: that of a peer could lose bytes by it.</summary>
    private static bool PipesCanBeReadWithoutWaiting()
    {
        (SafeFileHandle reader, SafeFileHandle writer) = Libc.Pipe();
        using (reader)
        using (writer)
            return Libc.ReadNoWait(reader, stackalloc byte[1]) == -Libc.EAGAIN;
    }

    private static NotSupportedException AsynchronousOnly() => new("The state of a device is read and written asynchronously only: a thread that waits for the other side could wait for ever.");

    private int ReadOnce(Span<byte> buffer) => _calls switch
    {
        Calls.OfASocket => Libc.ReceiveNoWait(_descriptor, buffer),
        Calls.OfASharedPipe => Libc.ReadNoWait(_descriptor, buffer),
        _ => Libc.Read(_descriptor, buffer),
    };

    private int WriteOnce(ReadOnlySpan<byte> bytes) => _calls switch
    {
        Calls.OfASocket => Libc.Send(_descriptor, bytes, []),
        Calls.OfASharedPipe => Libc.WriteNoWait(_descriptor, bytes),
        _ => Libc.Write(_descriptor, bytes),
    };

    private async ValueTask<int> RepeatAsync(Func<int> operation, string name, CancellationToken cancellationToken)
    {
        long since = _limits.TimeProvider.GetTimestamp();
        for (int waits = 0; ; waits++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            int result = operation();
            if (result >= 0)
                return result;
            if (result is not (-Libc.EAGAIN or -Libc.EINTR))
                throw new LinuxException(name, -result);
            if (waits > 0)
                await Task.Delay(_pause, _limits.TimeProvider, cancellationToken).ConfigureAwait(false);
            await WaitAsync(since, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Patience counts from the beginning of the operation: to be readable is no byte, as who has the same end can take the bytes away again and again.</summary>
    [SuppressMessage("Reliability", "CA2012", Justification = "One of two tasks, which is awaited at once.")]
    private async ValueTask WaitAsync(long since, CancellationToken cancellationToken)
    {
        _registration ??= Reactor.Shared.Register(_descriptor);
        using CancellationTokenSource late = new(Remaining(since), _limits.TimeProvider);
        using CancellationTokenSource either = CancellationTokenSource.CreateLinkedTokenSource(late.Token, cancellationToken);
        try
        {
            await (_writes ? _registration.WritableAsync(either.Token) : _registration.ReadableAsync(either.Token)).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            throw new VhostUserTimeoutException(string.Create(
                CultureInfo.InvariantCulture,
                $"The other side has {(_writes ? "taken" : "sent")} nothing for {_limits.Patience.TotalSeconds:0.###} s, after {Moved} bytes ({_limits.PatienceOption})."));
        }
    }

    private TimeSpan Remaining(long since)
    {
        TimeSpan patience = _limits.Patience;
        if (patience == Timeout.InfiniteTimeSpan)
            return patience;
        TimeSpan passed = _limits.TimeProvider.GetElapsedTime(since);
        return passed < patience ? patience - passed : TimeSpan.Zero;
    }

    private void Count(int bytes)
    {
        Moved += bytes;
        if (Moved > _limits.MostBytes)
        {
            throw new VhostUserException(string.Create(
                CultureInfo.InvariantCulture, $"The state has more than {_limits.MostBytes} bytes, the most allowed ({_limits.MostBytesOption})."));
        }
    }
}
