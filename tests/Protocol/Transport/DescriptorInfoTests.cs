using Microsoft.Win32.SafeHandles;
using Vhost.Tests.Support;

namespace Vhost.Protocol.Tests;

public sealed class DescriptorInfoTests
{
    [Fact]
    public void Every_kind_of_descriptor_is_told_from_the_others()
    {
        using TempSocket path = new();
        File.WriteAllText(path.Path, "12345");
        using SafeFileHandle file = File.OpenHandle(path.Path);
        using SafeFileHandle device = File.OpenHandle("/dev/null");
        using SafeFileHandle folder = RawDescriptors.OpenPath("/tmp");
        (SafeFileHandle reader, SafeFileHandle writer) = RawDescriptors.Pipe();
        using SafeFileHandle socket = Libc.UnixSocket();
        using SafeFileHandle notifier = Libc.EventFd();
        using SafeFileHandle epoll = Libc.EpollCreate();
        using (reader)
        using (writer)
        {
            Kinds(file, device, folder, reader, socket, notifier, epoll).Should().Equal(
                FileKind.Regular, FileKind.CharacterDevice, FileKind.Directory, FileKind.Pipe, FileKind.Socket, FileKind.Anonymous, FileKind.Anonymous);
            SafeFileHandle[] all = [file, device, folder, reader, socket, notifier, epoll];
            all.Where(one => DescriptorInfo.CanNotify(one)).Should().Equal(reader, notifier);
            all.Where(one => DescriptorInfo.IsEventFd(one)).Should().Equal(notifier);
            DescriptorInfo.FileSize(file).Should().Be(5);
            DescriptorInfo.Describe(epoll).Should().Be("Anonymous anon_inode:[eventpoll]");
        }
    }

    [Fact]
    public void A_number_that_is_not_open_is_unknown()
    {
        using SafeFileHandle nothing = new(1_000_000, ownsHandle: false);
        DescriptorInfo.Kind(nothing).Should().Be(FileKind.Unknown);
        DescriptorInfo.Describe(nothing).Should().Be("Unknown");
        nothing.Invoking(one => DescriptorInfo.FileSize(one)).Should().Throw<LinuxException>().Which.Errno.Should().Be(Libc.EBADF);
        nothing.Invoking(one => Libc.Duplicate(one)).Should().Throw<LinuxException>();
        nothing.Invoking(one => Libc.SetNonBlocking(one)).Should().Throw<LinuxException>();
    }

    private static FileKind[] Kinds(params SafeFileHandle[] descriptors) => [.. descriptors.Select(one => DescriptorInfo.Kind(one))];
}
