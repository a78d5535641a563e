using Microsoft.Win32.SafeHandles;
using Vhost.Tests.Support;

namespace Vhost.Protocol.Tests;

public sealed class ReactorTests
{
    [Fact]
    public async Task A_file_that_cannot_be_waited_for_is_an_error_of_the_wait()
    {
        using SafeFileHandle file = File.OpenHandle(typeof(ReactorTests).Assembly.Location);
        using ReactorRegistration registration = Reactor.Shared.Register(file);
        for (int i = 0; i < 2; i++)
        {
            Func<Task> wait = () => registration.ReadableAsync(CancellationToken.None).InTime();
            (await wait.Should().ThrowAsync<LinuxException>()).Which.Errno.Should().Be(Libc.EPERM);
        }
    }

    [Fact]
    public async Task Both_directions_are_waited_for_at_once()
    {
        (SafeFileHandle first, SafeFileHandle second) = Libc.UnixSocketPair();
        using (first)
        using (second)
        using (ReactorRegistration registration = Reactor.Shared.Register(first))
        {
            Task readable = registration.ReadableAsync(CancellationToken.None).AsTask();
            await registration.WritableAsync(CancellationToken.None).InTime();
            readable.IsCompleted.Should().BeFalse();
            Libc.Send(second, [1], []).Should().Be(1);
            await readable.InTime();
        }
    }

    [Fact]
    public async Task A_descriptor_stays_open_until_its_registration_ends()
    {
        (SafeFileHandle first, SafeFileHandle second) = Libc.UnixSocketPair();
        using (second)
        {
            ReactorRegistration registration = Reactor.Shared.Register(first);
            Task readable = registration.ReadableAsync(CancellationToken.None).AsTask();
            first.Dispose();
            Libc.Send(second, [1], []).Should().Be(1, "the number cannot be given to another file yet");
            await readable.InTime();
            registration.Dispose();
            registration.Dispose();
            Libc.Send(second, [1], []).Should().Be(-Libc.EPIPE);
            Func<Task> later = () => registration.ReadableAsync(CancellationToken.None).InTime();
            await later.Should().ThrowAsync<ObjectDisposedException>();
        }
    }

    [Fact]
    public void A_closed_descriptor_is_refused_and_its_place_is_free_again()
    {
        SafeFileHandle closed = Libc.EventFd();
        closed.Dispose();
        for (int i = 0; i < 100; i++) closed.Invoking(one => Reactor.Shared.Register(one)).Should().Throw<ObjectDisposedException>();
    }

    [Fact]
    public void The_event_structure_is_packed_on_x64_alone()
    {
        EpollEvent.SizeOn(System.Runtime.InteropServices.Architecture.X64).Should().Be(12);
        EpollEvent.SizeOn(System.Runtime.InteropServices.Architecture.Arm64).Should().Be(16);
    }
}
