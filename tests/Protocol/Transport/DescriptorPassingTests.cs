using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Tests.Support;

namespace Vhost.Protocol.Tests;

[Collection(ProcessCounts.Name)]
public sealed class DescriptorPassingTests
{
    /// <summary>A cancelled receive keeps the part of a message that has arrived, for the next one; of a disposed connection there is none.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task B08_descriptors_of_half_a_message_are_closed_by_dispose_also_when_the_receive_was_just_cancelled(bool inProcess)
    {
        using EventNotifier notifier = new();
        ProcessCounts before = ProcessCounts.Snapshot();
        List<VhostUserConnection> kept = []; // so that no finalizer closes anything
        for (int i = 0; i < 20; i++)
        {
            (VhostUserConnection front, VhostUserConnection back) = inProcess ? VhostUserConnection.CreateInProcessPair() : VhostUserConnection.CreatePair();
            kept.Add(back);
            using CancellationTokenSource cancel = new();
            await front.SendRawAsync(new byte[4], Ends.Descriptors(notifier.Descriptor, 3)).InTime();
            Task receiving = back.ReceiveAsync(cancel.Token).AsTask();
            cancel.Cancel();
            await back.DisposeAsync();
            await receiving.Awaiting(task => task.InTime()).Should().ThrowAsync<Exception>();
            await front.DisposeAsync();
        }

        before.AssertBack();
        GC.KeepAlive(kept);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task B08_any_number_of_descriptors_is_received_and_what_nobody_takes_is_closed(bool inProcess)
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        await using (Ends ends = Ends.Make(inProcess))
        {
            using EventNotifier notifier = new();
            for (int count = 0; count <= VhostUserConnection.MaxDescriptors; count++)
            {
                await ends.FrontEnd.SendAsync(Ends.Header(12, 8), new byte[8], Ends.Descriptors(notifier.Descriptor, count)).InTime();
                using VhostUserMessage message = (await ends.BackEnd.ReceiveAsync().InTime())!;
                message.DescriptorCount.Should().Be(count);
                if (count > 0) message.TakeDescriptor(count - 1).Dispose();
            }
        }

        before.AssertBack();
    }

    /// <summary>The sender's name comes along with them, and takes no room from them.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(VhostUserConnection.MaxDescriptors)]
    public async Task B08_as_many_descriptors_are_received_from_a_sender_who_is_named(int count)
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        await using (Ends ends = Ends.Make())
        {
            using EventNotifier notifier = new();
            ends.BackEnd.NameSenders();
            await ends.FrontEnd.SendAsync(Ends.Header(12, 8), new byte[8], Ends.Descriptors(notifier.Descriptor, count)).InTime();
            using VhostUserMessage message = (await ends.BackEnd.ReceiveAsync().InTime())!;
            message.DescriptorCount.Should().Be(count);
            ends.BackEnd.PeerProcessId.Should().Be(Environment.ProcessId);

            await ends.FrontEnd.DisposeAsync();
            (await ends.BackEnd.ReceiveAsync().InTime()).Should().BeNull();
            ends.BackEnd.PeerProcessId.Should().Be(Environment.ProcessId, "the end of the stream has no sender");
        }

        before.AssertBack();
    }

    [Fact]
    public async Task B08_descriptors_with_every_part_of_a_message_end_the_connection_and_are_closed()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        await using (Ends ends = Ends.Make())
        {
            using EventNotifier notifier = new();
            byte[] bytes = Ends.Bytes(12, 8);
            await ends.FrontEnd.SendRawAsync(bytes.AsMemory(0, 12), Ends.Descriptors(notifier.Descriptor, 200)).InTime();
            await ends.FrontEnd.SendRawAsync(bytes.AsMemory(12), Ends.Descriptors(notifier.Descriptor, 200)).InTime();
            Func<Task> received = () => ends.BackEnd.ReceiveAsync().InTime();
            (await received.Should().ThrowAsync<VhostUserProtocolException>().WithMessage("*400 descriptors*253*"))
                .Which.Violation.Should().Be(VhostUserViolation.WrongDescriptorCount);
        }

        before.AssertBack();
    }

    [Fact]
    public async Task B08_descriptors_still_under_way_are_closed_with_the_connection()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        foreach (bool inProcess in (bool[])[false, true])
        {
            await using Ends ends = Ends.Make(inProcess);
            using EventNotifier notifier = new();
            await ends.FrontEnd.SendAsync(Ends.Header(12, 8), new byte[8], Ends.Descriptors(notifier.Descriptor, 8)).InTime();
        }

        before.AssertBack();
    }

    [Theory]
    [InlineData(0, false)]
    [InlineData(1, false)]
    [InlineData(5, false)]
    [InlineData(0, true)]
    [InlineData(5, true)]
    public async Task B09_at_the_limit_of_open_files_nothing_leaks_and_the_next_connection_works(int free, bool named)
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        using (EventNotifier notifier = new())
        {
            await using Ends ends = Ends.Make();
            await using Ends later = Ends.Make();
            if (named) ends.BackEnd.NameSenders();
            SafeHandle[] descriptors = Ends.Descriptors(notifier.Descriptor, 8);
            await ends.FrontEnd.SendAsync(Ends.Header(5, 8), new byte[8], descriptors).InTime();
            Func<Task> received = () => ends.BackEnd.ReceiveAsync().InTime();
            using (DescriptorLimit.Leaving(free))
            {
                VhostUserProtocolException violation =
                    (await received.Should().ThrowAsync<VhostUserProtocolException>().WithMessage("*of them arrived and were closed*RLIMIT_NOFILE*")).Which;
                violation.Violation.Should().Be(VhostUserViolation.DescriptorsTruncated);
            }

            await later.FrontEnd.SendAsync(Ends.Header(5, 8), new byte[8], descriptors).InTime();
            using VhostUserMessage message = (await later.BackEnd.ReceiveAsync().InTime())!;
            message.DescriptorCount.Should().Be(8);
        }

        before.AssertBack();
    }

    [Fact]
    public async Task B09_in_process_a_sender_at_the_limit_gets_the_error()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        await using (Ends ends = Ends.Make(inProcess: true))
        {
            using EventNotifier notifier = new();
            using (DescriptorLimit.Leaving(3))
            {
                Func<Task> send = () => ends.FrontEnd.SendAsync(Ends.Header(5, 8), new byte[8], Ends.Descriptors(notifier.Descriptor, 8)).InTime();
                (await send.Should().ThrowAsync<LinuxException>()).Which.Errno.Should().Be(Libc.EMFILE);
            }

            await ends.FrontEnd.SendAsync(Ends.Header(5, 0), default).InTime();
            using VhostUserMessage message = (await ends.BackEnd.ReceiveAsync().InTime())!;
            message.DescriptorCount.Should().Be(0);
        }

        before.AssertBack();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task More_descriptors_than_a_message_carries_and_closed_ones_are_the_callers_mistake(bool inProcess)
    {
        await using Ends ends = Ends.Make(inProcess);
        using EventNotifier notifier = new();
        EventNotifier closed = new();
        closed.Dispose();
        Func<Task> many = () => ends.FrontEnd.SendAsync(Ends.Header(5, 0), default, Ends.Descriptors(notifier.Descriptor, 254)).InTime();
        await many.Should().ThrowAsync<ArgumentException>().WithMessage("*254*253*");
        Func<Task> dead = () => ends.FrontEnd.SendAsync(Ends.Header(5, 0), default, (SafeHandle[])[notifier.Descriptor, closed.Descriptor]).InTime();
        await dead.Should().ThrowAsync<ObjectDisposedException>();
        Func<Task> empty = () => ends.FrontEnd.SendRawAsync(default, Ends.Descriptors(notifier.Descriptor, 1)).InTime();
        await empty.Should().ThrowAsync<ArgumentException>();
        await ends.FrontEnd.SendAsync(Ends.Header(6, 0), default).InTime();
        using VhostUserMessage message = (await ends.BackEnd.ReceiveAsync().InTime())!;
        message.Header.Request.Should().Be(6u);
    }

    [Fact]
    public async Task Received_descriptors_are_closed_on_exec()
    {
        await using Ends ends = Ends.Make();
        using EventNotifier notifier = new();
        await ends.FrontEnd.SendAsync(Ends.Header(12, 0), default, Ends.Descriptors(notifier.Descriptor, 1)).InTime();
        using VhostUserMessage message = (await ends.BackEnd.ReceiveAsync().InTime())!;
        using SafeFileHandle descriptor = message.TakeDescriptor(0);
        File.ReadAllText($"/proc/self/fdinfo/{descriptor.DangerousGetHandle()}").Should().MatchRegex("flags:\\s+02[0-9]*", "O_CLOEXEC is 02000000");
    }

    [Theory]
    [InlineData(1, 24)]
    [InlineData(2, 24)]
    [InlineData(3, 32)]
    [InlineData(8, 48)]
    [InlineData(253, 1032)]
    public void Control_buffers_have_the_size_of_the_C_macro(int descriptors, int space) => Libc.ControlSpace(descriptors).Should().Be(space);
}
