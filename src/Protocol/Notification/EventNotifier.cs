using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vhost.Protocol;

/// <summary>
/// A notification between two processes: an eventfd, or a pipe where a front-end such as User-Mode Linux uses one. This is what travels in
/// SET_VRING_KICK, SET_VRING_CALL and SET_VRING_ERR, and what irqfd and ioeventfd of KVM take.
/// </summary>
/// <remarks>
/// Notifications are hints: any number of signals before one <see cref="TryConsume"/> are one. The peer owns the same open file, so nothing here
/// relies on its counter or flags, and flags of a descriptor that came from elsewhere are never changed. <see cref="TryConsume"/> and,
/// after the first time, <see cref="Signal"/> and <see cref="WaitAsync"/> allocate nothing. Signalling and consuming are thread-safe; one
/// <see cref="WaitAsync"/> at a time.
/// </remarks>
public sealed partial class EventNotifier : IDisposable
{
    private readonly Lock _gate = new();
    private readonly SafeFileHandle _descriptor;

    /// <summary>The writing end of a foreign pipe, opened anew: a description of ours, whose O_NONBLOCK nobody else can clear. Never handed out.</summary>
    private readonly SafeFileHandle? _ownEnd;

    /// <summary>The same for the reading end. What waits there is still waited for at the descriptor.</summary>
    private readonly SafeFileHandle? _ownReader;

    /// <summary>A pipe, with a name or without.</summary>
    private readonly bool _isPipe;

    private ReactorRegistration? _registration;
    private volatile bool _cannotReadNoWait;

    /// <summary>Somebody else has had the descriptor in hand, and may have changed its flags and counter.</summary>
    private volatile bool _shared;

    /// <summary>It was made by somebody else, who can make another one.</summary>
    private readonly bool _isForeign;

    private volatile bool _disposed;

    /// <summary>Makes a new eventfd with counter 0, non-blocking and closed on exec.</summary>
    /// <exception cref="LinuxException">The process may not open more descriptors.</exception>
    public EventNotifier()
    {
        SupportedHost.Require();
        _descriptor = Libc.EventFd();
    }

    /// <summary>Takes ownership of an eventfd or pipe end made elsewhere; the descriptor is closed also when this throws.</summary>
    /// <param name="descriptor">The descriptor; its flags stay as they are.</param>
    /// <exception cref="ArgumentException">The descriptor is neither an eventfd nor a pipe; the message says what it is.</exception>
    public EventNotifier(SafeFileHandle descriptor)
    {
        SupportedHost.Require();
        ArgumentNullException.ThrowIfNull(descriptor);
        if (!DescriptorInfo.CanNotify(descriptor))
        {
            string kind = DescriptorInfo.Describe(descriptor);
            descriptor.Dispose();
            throw new ArgumentException($"A notification needs an eventfd or a pipe; this descriptor is: {kind}.", nameof(descriptor));
        }

        (_descriptor, _shared, _isForeign) = (descriptor, true, true);
        _isPipe = DescriptorInfo.Kind(descriptor) == FileKind.Pipe;
        if (!_isPipe || !DescriptorInfo.IsUnnamedPipe(descriptor)) return;
        _ownEnd = Libc.TryOpenWriterOf(descriptor);
        if (_ownEnd is null) _ownReader = Libc.TryReopenPipe(descriptor, writes: false);
    }

    /// <summary>Takes the way of kernels that cannot read without waiting (before 5.8 for an eventfd, before 6.4 for a pipe). For tests.</summary>
    internal bool WithoutNoWait
    {
        init => _cannotReadNoWait = value;
    }

    /// <summary>The descriptor, to be handed to a peer or to the kernel. Owned by this object.</summary>
    public SafeFileHandle Descriptor
    {
        get
        {
            _shared = true;
            return _descriptor;
        }
    }

    /// <summary>A second notifier over the same open file; the caller's descriptor stays the caller's.</summary>
    /// <param name="descriptor">An eventfd or pipe end.</param>
    /// <returns>A notifier with a descriptor of its own, closed on exec.</returns>
    /// <exception cref="ArgumentException">The descriptor is neither an eventfd nor a pipe.</exception>
    /// <exception cref="LinuxException">The process may not open more descriptors.</exception>
    public static EventNotifier Duplicate(SafeHandle descriptor)
    {
        ArgumentNullException.ThrowIfNull(descriptor);
        return new EventNotifier(Libc.Duplicate(descriptor));
    }

    /// <summary>
    /// Notifies the other side. Never waits and never throws for what the peer did: a full counter or pipe means that the other side has been
    /// notified already, and a pipe nobody reads any more has nobody to notify.
    /// </summary>
    /// <remarks>
    /// A descriptor without O_NONBLOCK is asked first whether it takes a write. The kernel has no non-waiting write for an eventfd, so a peer that
    /// clears the flag and fills the counter in the moment between the question and the write can still hold up this thread, for less than a tenth of a second: the counter is emptied then, and
    /// a descriptor that came from elsewhere is signalled no more. The flag is asked for each time, because the peer may change it at any time; a descriptor that never left this object is not asked.
    /// A pipe is opened anew, so that nobody can change the flag; one that this user may not open, or that has a name, is treated like an eventfd, except that its end for writing cannot be emptied from here.
    /// </remarks>
    /// <exception cref="ObjectDisposedException">The notifier was disposed.</exception>
    public void Signal()
    {
        Span<byte> one = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(one, 1);
        if (_ownEnd is not null)
        {
            _ = Libc.Write(_ownEnd, one);
            return;
        }

        if (_shared && (_isGivenUp || !TakesWrite())) return;
        BeginWrite();
        try
        {
            while (Libc.Write(_descriptor, one) == -Libc.EINTR)
            {
            }
        }
        finally
        {
            EndWrite();
        }
    }

    /// <summary>
    /// Takes the notifications that are there, all of them at once. Never waits: what cannot be read without waiting, since its owner may take it away in the moment before, is left
    /// there. That is a named pipe, and before Linux 5.8 an eventfd of somebody else without O_NONBLOCK.
    /// </summary>
    /// <returns>True when there was at least one.</returns>
    /// <exception cref="ObjectDisposedException">The notifier was disposed.</exception>
    public bool TryConsume() => Consume(trustsFlags: true);

    /// <summary>The same.</summary>
    /// <param name="trustsFlags">Whether O_NONBLOCK is believed where the kernel has no other read that cannot wait. Its owner could clear it in that moment.</param>
    private bool Consume(bool trustsFlags)
    {
        // A pipe may hold more than one read takes; a peer that keeps filling it must not keep us here.
        const int MostReads = 64;
        bool any = false;
        for (int i = 0; i < MostReads; i++)
        {
            int read = ReadOnce(trustsFlags, out int capacity);
            any |= read > 0;
            if (read < capacity) return any;
        }

        return any;
    }

    /// <summary>
    /// Ends use of the descriptor: it leaves the reactor first and is closed afterwards. A pending wait ends with an exception, and a thread that the peer
    /// holds up in <see cref="Signal"/> is let go.
    /// </summary>
    public void Dispose()
    {
        ReactorRegistration? registration;
        lock (_gate)
        {
            if (_disposed) return;
            _disposed = true;
            registration = _registration;
        }

        registration?.Dispose();
        ReleaseSignallers();
        _ownEnd?.Dispose();
        _ownReader?.Dispose();
        _descriptor.Dispose();
    }

    private bool TakesWrite()
    {
        int flags = Libc.StatusFlags(_descriptor);
        return flags >= 0 && ((flags & Libc.O_NONBLOCK) != 0 || HasRoom());
    }

    private bool HasRoom() => Libc.Poll(_descriptor, Libc.POLLOUT, 0) is int events and > 0 && (events & Libc.POLLOUT) != 0;

    [SkipLocalsInit]
    private int ReadOnce(bool trustsFlags, out int capacity)
    {
        Span<byte> buffer = stackalloc byte[512];
        capacity = buffer.Length;
        int result;
        do
        {
            result = ReadWithoutWaiting(buffer, trustsFlags);
        }
        while (result == -Libc.EINTR);
        return result;
    }

    private int ReadWithoutWaiting(Span<byte> buffer, bool trustsFlags)
    {
        if (_ownReader is not null) return Libc.Read(_ownReader, buffer);
        if (!_cannotReadNoWait)
        {
            int result = Libc.ReadNoWait(_descriptor, buffer);
            if (result is not (-Libc.EOPNOTSUPP or -Libc.ENOSYS or -Libc.EINVAL)) return result;
            _cannotReadNoWait = true;
        }

        bool waits = _shared && (_isPipe || !trustsFlags || (Libc.StatusFlags(_descriptor) & Libc.O_NONBLOCK) == 0);
        return !waits && IsReadable() ? Libc.Read(_descriptor, buffer) : 0;
    }

    private bool IsReadable()
    {
        int events = Libc.Poll(_descriptor, Libc.POLLIN, 0);
        return events > 0 && (events & Libc.POLLIN) != 0;
    }
}
