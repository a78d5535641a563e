using System.Net.Sockets;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>One descriptor of each kind that a peer could pass off as something else.</summary>
internal sealed class OddDescriptors : IDisposable
{
    private readonly Socket _socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
    private readonly SafeFileHandle _epoll = Libc.EpollCreate();
    private readonly SafeFileHandle _null = File.OpenHandle("/dev/null", FileMode.Open, FileAccess.ReadWrite);
    private readonly SafeFileHandle _readOnly = File.OpenHandle("/proc/self/status");
    private readonly SafeFileHandle _folder = RawDescriptors.OpenPath("/tmp");
    private readonly SafeFileHandle _folderPath = RawDescriptors.OpenPath("/tmp", pathOnly: true);
    private readonly EventNotifier _event = new();
    private readonly SafeFileHandle _eventPath;
    private readonly SafeFileHandle _pipeReader;
    private readonly SafeFileHandle _pipeWriter;
    private readonly SafeFileHandle _pipePath;

    public OddDescriptors()
    {
        _eventPath = RawDescriptors.Reopen(_event.Descriptor, pathOnly: true);
        (_pipeReader, _pipeWriter) = RawDescriptors.Pipe();
        _pipePath = RawDescriptors.Reopen(_pipeReader, pathOnly: true);
    }

    /// <summary>The last three look like what is wanted until somebody asks whether they were opened.</summary>
    public IReadOnlyList<SafeHandle> CannotNotify =>
        [_socket.SafeHandle, _epoll, _null, _readOnly, _folder, _folderPath, _eventPath, _pipePath];

    public IReadOnlyList<SafeHandle> CannotBeMapped => [.. CannotNotify, _event.Descriptor, _pipeReader, _pipeWriter];

    public void Dispose()
    {
        _socket.Dispose();
        _epoll.Dispose();
        _null.Dispose();
        _readOnly.Dispose();
        _folder.Dispose();
        _folderPath.Dispose();
        _event.Dispose();
        _eventPath.Dispose();
        _pipeReader.Dispose();
        _pipeWriter.Dispose();
        _pipePath.Dispose();
    }
}
