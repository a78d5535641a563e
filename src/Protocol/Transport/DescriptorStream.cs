using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using Microsoft.Win32.SafeHandles;

namespace Vhost.Protocol;

/// <summary>
/// One end of a pipe, or of a stream socket, of which somebody else has the other: what the state of a device travels over. It never makes a thread wait, each wait is bounded, and so is the
/// number of bytes.
/// </summary>
/// <remarks>
/// <para>Ownership: has the descriptor; disposing closes it, which for a writer is the end of what it wrote.</para>
/// <para>Threading: one operation at a time.</para>
/// </remarks>
internal sealed class DescriptorStream : Stream
{
    private readonly SafeFileHandle _descriptor;
    private readonly bool _writes;
    private readonly DescriptorStreamLimits _limits;
    private ReactorRegistration? _registration;

    private DescriptorStream(SafeFileHandle descriptor, bool writes, DescriptorStreamLimits limits) => (_descriptor, _writes, _limits) = (descriptor, writes, limits);

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
    /// <exception cref="ArgumentException">It is neither a pipe nor a stream socket, or the other end; the message says what it is.</exception>
    internal static DescriptorStream Open(SafeFileHandle descriptor, bool writes, DescriptorStreamLimits limits)
    {
        try
        {
            if (WhyNot(descriptor, writes) is { } why)
                throw new ArgumentException(why, nameof(descriptor));
            if (DescriptorInfo.IsUnnamedPipe(descriptor) && Libc.TryReopenPipe(descriptor, writes) is { } own)
            {
                descriptor.Dispose();
                descriptor = own;
            }
            else
            {
                Libc.SetNonBlocking(descriptor);
            }

            return new DescriptorStream(descriptor, writes, limits);
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
        int count = await RepeatAsync(() => Libc.Read(_descriptor, buffer.Span[..most]), "read", cancellationToken).ConfigureAwait(false);
        Count(count);
        return count;
    }

    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        while (buffer.Length > 0)
        {
            ReadOnlyMemory<byte> rest = buffer;
            int count = await RepeatAsync(() => Libc.Write(_descriptor, rest.Span), "write", cancellationToken).ConfigureAwait(false);
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
        bool isChannel = DescriptorInfo.Kind(descriptor) is FileKind.Pipe or FileKind.Socket && !DescriptorInfo.IsPathOnly(descriptor);
        if (!isChannel)
            return $"A pipe or a stream socket is needed; this descriptor is: {DescriptorInfo.Describe(descriptor)}.";
        int access = Libc.StatusFlags(descriptor) & Libc.O_ACCMODE;
        return access == Libc.O_RDWR || (access == Libc.O_WRONLY) == writes ? null : $"The end of a pipe that can be {(writes ? "written" : "read")} is needed, and this is the other one.";
    }

    private static NotSupportedException AsynchronousOnly() => new("The state of a device is read and written asynchronously only: a thread that waits for the other side could wait for ever.");

    private async ValueTask<int> RepeatAsync(Func<int> operation, string name, CancellationToken cancellationToken)
    {
        while (true)
        {
            cancellationToken.ThrowIfCancellationRequested();
            int result = operation();
            if (result >= 0)
                return result;
            if (result == -Libc.EAGAIN)
                await WaitAsync(cancellationToken).ConfigureAwait(false);
            else if (result != -Libc.EINTR)
                throw new LinuxException(name, -result);
        }
    }

    [SuppressMessage("Reliability", "CA2012", Justification = "One of two tasks, which is awaited at once.")]
    private async ValueTask WaitAsync(CancellationToken cancellationToken)
    {
        _registration ??= Reactor.Shared.Register(_descriptor);
        using CancellationTokenSource late = new(_limits.Patience, _limits.TimeProvider);
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
