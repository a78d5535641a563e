using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vhost.Protocol;

/// <summary>A connected Unix stream socket. It never waits inside a system call, whatever the flags of the socket.</summary>
internal sealed class UnixSocketTransport : IVhostUserTransport
{
    private readonly SafeFileHandle _socket;
    private readonly ReactorRegistration _registration;
    private int _peerProcess;

    /// <summary>Takes ownership of the socket, also when this throws.</summary>
    internal UnixSocketTransport(SafeFileHandle socket, string name)
    {
        _socket = socket;
        Name = name;
        Number = DescriptorInfo.FileNumber(socket);
        _peerProcess = Libc.PeerProcess(socket);
        try
        {
            _registration = Reactor.Shared.Register(socket);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    public string Name { get; }

    /// <summary>The kernel's number of the socket.</summary>
    internal ulong Number { get; }

    public int PeerProcessId => Volatile.Read(ref _peerProcess);

    public void NameSenders() => Libc.NameSenders(_socket);

    public bool HasPeerLeft => Libc.Poll(_socket, Libc.POLLIN, 0) is var events and > 0 && (events & Libc.POLLHUP) != 0;

    public ValueTask WaitPeerLeftAsync(CancellationToken cancellationToken) => _registration.HungUpAsync(cancellationToken);

    public int TryReceive(Span<byte> destination, ReceivedDescriptors descriptors)
    {
        int received;
        bool truncated;
        do received = Libc.Receive(_socket, destination, descriptors, out truncated, ref _peerProcess);
        while (received == -Libc.EINTR);

        if (truncated) throw Truncated(descriptors);
        return received switch
        {
            >= 0 => received,
            -Libc.EAGAIN => IVhostUserTransport.WouldBlock,
            _ => throw Lost("recvmsg", -received),
        };
    }

    /// <summary>Whether the other socket is connected to the listener that accepted this one.</summary>
    internal bool SharesListenerWith(SafeFileHandle other) => Libc.PeerIsNamedLike(other, _socket);

    public ValueTask WaitReceivableAsync(CancellationToken cancellationToken) => _registration.ReadableAsync(cancellationToken);

    public int TrySend(ReadOnlySpan<byte> bytes, ReadOnlySpan<SafeHandle> descriptors)
    {
        int sent;
        do sent = Libc.Send(_socket, bytes, descriptors);
        while (sent == -Libc.EINTR);

        return sent switch
        {
            >= 0 => sent,
            -Libc.EAGAIN => IVhostUserTransport.WouldBlock,
            _ => throw Lost("sendmsg", -sent),
        };
    }

    public ValueTask WaitSendableAsync(CancellationToken cancellationToken) => _registration.WritableAsync(cancellationToken);

    public void EndSending() => Shutdown(Libc.SHUT_WR);

    public void Abort() => Shutdown(Libc.SHUT_RDWR);

    private void Shutdown(int how)
    {
        try
        {
            Libc.Shutdown(_socket, how);
        }
        catch (ObjectDisposedException)
        {
            // Closed already, which has ended both directions as well.
        }
    }

    public void Dispose()
    {
        _registration.Dispose();
        _socket.Dispose();
    }

    private VhostUserProtocolException Truncated(ReceivedDescriptors descriptors)
    {
        int arrived = descriptors.Count;
        descriptors.Clear();
        return new VhostUserProtocolException(
            VhostUserViolation.DescriptorsTruncated,
            $"{Name}: the kernel could not deliver all descriptors of a message ({arrived} of them arrived and were closed). Either this process has "
            + "reached its limit of open files (RLIMIT_NOFILE), or the peer sent control data that vhost-user does not have.");
    }

    private VhostUserDisconnectedException Lost(string operation, int errno) =>
        new($"{Name}: the connection was lost.", new LinuxException(operation, errno));
}
