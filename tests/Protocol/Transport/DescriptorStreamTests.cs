using System.Net.Sockets;
using Microsoft.Win32.SafeHandles;
using Vhost.Tests.Support;

namespace Vhost.Protocol.Tests;

/// <summary>B34: the end of a pipe or socket that its sender has kept too, and does as he likes with.</summary>
public sealed class DescriptorStreamTests
{
    /// <summary>What a transfer goes over, and whether a pipe can be opened anew, which another user's cannot.</summary>
    public enum Way
    {
        Socket,
        Pipe,
        PipeOfAnotherUser,
    }

    [Theory]
    [InlineData(Way.Socket)]
    [InlineData(Way.Pipe)]
    [InlineData(Way.PipeOfAnotherUser)]
    public async Task B34_An_owner_who_clears_the_flag_makes_no_read_wait(Way way)
    {
        (SafeFileHandle reader, SafeFileHandle writer) = Ends(way);
        using SafeFileHandle owner = Libc.Duplicate(reader);
        using (writer)
        await using (DescriptorStream stream = DescriptorStream.Open(reader, writes: false, Limits(), mayReopen: way != Way.PipeOfAnotherUser))
        {
            RawDescriptors.SetNonBlocking(owner, nonBlocking: false);
            Libc.Write(writer, [1, 2, 3]).Should().Be(3);
            byte[] buffer = new byte[16];
            (await stream.ReadAsync(buffer).InTime()).Should().Be(3);
            buffer.Take(3).Should().Equal(1, 2, 3);
            using CancellationTokenSource stop = new();
            Task<int> reading = await Task.Factory.StartNew(
                () => stream.ReadAsync(buffer, stop.Token).AsTask(), CancellationToken.None, TaskCreationOptions.None, TaskScheduler.Default).InTime();
            await stop.CancelAsync();
            await reading.Invoking(task => task.InTime()).Should().ThrowAsync<OperationCanceledException>();
            writer.Dispose();
            (await stream.ReadAsync(buffer).InTime()).Should().Be(0);
        }
    }

    [Theory]
    [InlineData(Way.Socket)]
    [InlineData(Way.Pipe)]
    [InlineData(Way.PipeOfAnotherUser)]
    public async Task B34_An_owner_who_clears_the_flag_makes_no_write_wait(Way way)
    {
        (SafeFileHandle reader, SafeFileHandle writer) = Ends(way);
        using SafeFileHandle owner = Libc.Duplicate(writer);
        using (reader)
        await using (DescriptorStream stream = DescriptorStream.Open(writer, writes: true, Limits(), mayReopen: way != Way.PipeOfAnotherUser))
        {
            RawDescriptors.SetNonBlocking(owner, nonBlocking: false);
            using CancellationTokenSource stop = new();
            Task writing = Task.Run(() => stream.WriteAsync(new byte[1 << 20], stop.Token).AsTask());
            await Eventually.TrueAsync(() => Libc.Poll(owner, Libc.POLLOUT, 0) == 0);
            await stop.CancelAsync();
            await writing.Invoking(task => task.InTime()).Should().ThrowAsync<OperationCanceledException>();
            reader.Dispose();
            Task late = stream.WriteAsync(new byte[1]).AsTask();
            (await late.Invoking(task => task.InTime()).Should().ThrowAsync<LinuxException>()).Which.Errno.Should().BeOneOf(Libc.EPIPE, Libc.ECONNRESET);
        }
    }

    [Fact]
    public async Task B34_A_descriptor_that_is_readable_again_and_again_without_a_byte_is_given_up_in_time()
    {
        FakeTimeProvider clock = new();
        (SafeFileHandle reader, SafeFileHandle writer) = Libc.UnixSocketPair();
        using SafeFileHandle owner = Libc.Duplicate(reader);
        using Socket sender = new(new SafeSocketHandle(writer.DangerousGetHandle(), ownsHandle: false)) { Blocking = false };
        using (writer)
        await using (DescriptorStream stream = DescriptorStream.Open(reader, writes: false, Limits(clock)))
        {
            Task<int> reading = stream.ReadAsync(new byte[16]).AsTask();
            for (int second = 0; second < 10 && !reading.IsCompleted; second++)
            {
                await Task.WhenAny(reading, clock.TimersAsync());
                sender.Send([1], SocketFlags.OutOfBand); // seen by poll(2), and passed over by recv(2)
                await Eventually.TrueAsync(() =>
                {
                    clock.Advance(TimeSpan.FromMilliseconds(1)); // the stream may be in its pause after the byte before
                    return reading.IsCompleted || Libc.Poll(owner, Libc.POLLIN, 0) == 0;
                });
                clock.Advance(TimeSpan.FromSeconds(1));
            }

            await reading.Invoking(task => task.InTime()).Should().ThrowAsync<VhostUserTimeoutException>().WithMessage("*sent nothing for 5 s, after 0 bytes*");
        }
    }

    [Fact]
    public void B34_What_cannot_be_used_without_waiting_is_refused()
    {
        using TempSocket name = new(".pipe");
        RawDescriptors.MakeNamedPipe(name.Path);
        using TempSocket datagrams = new();
        Open(File.OpenHandle(name.Path, FileMode.Open, FileAccess.ReadWrite)).Should().Throw<ArgumentException>().WithMessage("*without a name*");
        Open(RawDescriptors.DatagramSocket(datagrams.Path)).Should().Throw<ArgumentException>().WithMessage("*stream socket*");

        static Action Open(SafeFileHandle descriptor) => () => DescriptorStream.Open(descriptor, writes: false, Limits());
    }

    private static DescriptorStreamLimits Limits(TimeProvider? clock = null) =>
        new(1 << 20, "most", clock is null ? Timeout.InfiniteTimeSpan : TimeSpan.FromSeconds(5), "patience", clock ?? TimeProvider.System);

    private static (SafeFileHandle Reader, SafeFileHandle Writer) Ends(Way way) => way == Way.Socket ? Libc.UnixSocketPair() : RawDescriptors.Pipe();
}
