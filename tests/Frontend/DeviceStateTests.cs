using System.IO.Pipelines;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>The front-end's half of a transfer of a device's state, against a back-end that does what the test says with the pipe.</summary>
[Collection(ProcessCounts.Name)]
public class DeviceStateTests
{
    private const ulong UseYours = 0x100;

    private static readonly BackendOffer _offer = new BackendOffer().With(VhostUserProtocolFeatures.DeviceState);
    private static readonly VhostUserFrontendOptions _options = new() { RequiredProtocolFeatures = VhostUserProtocolFeatures.DeviceState };

    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.SetDeviceStateFd, VhostUserRequest.CheckDeviceState, VhostUserProtocolFeatures.DeviceState)]
    public async Task A_state_is_saved_over_our_pipe_and_nothing_stays_open()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync(_offer, _options);
        ProcessCounts before = ProcessCounts.Snapshot();
        byte[] state = new byte[300_000];
        Random.Shared.NextBytes(state);
        Answer(dialogue, VhostUserTransferDirection.Save, pipe => pipe.WriteAsync(state));
        using MemoryStream saved = new();
        (await dialogue.Session.SaveDeviceStateAsync(saved).InTime()).Should().Be(state.Length);
        saved.ToArray().Should().Equal(state);
        before.AssertBack();
    }

    [Fact]
    public async Task A_state_is_loaded_over_our_pipe_and_its_end_is_seen()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync(_offer, _options);
        byte[] state = new byte[300_000];
        Random.Shared.NextBytes(state);
        TaskCompletionSource<byte[]> seen = new(TaskCreationOptions.RunContinuationsAsynchronously);
        Answer(dialogue, VhostUserTransferDirection.Load, async pipe =>
        {
            using MemoryStream bytes = new();
            await pipe.CopyToAsync(bytes);
            seen.SetResult(bytes.ToArray());
        });
        (await dialogue.Session.LoadDeviceStateAsync(new MemoryStream(state)).InTime()).Should().Be(state.Length);
        (await seen.Task.InTime()).Should().Equal(state);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_descriptor_of_the_back_end_is_used_in_place_of_ours(bool socket)
    {
        await using Dialogue dialogue = await Dialogue.StartAsync(_offer, _options);
        ProcessCounts before = ProcessCounts.Snapshot();
        (SafeFileHandle reader, SafeFileHandle writer) = socket ? Libc.UnixSocketPair() : Libc.Pipe();
        Libc.Write(writer, [1, 2, 3]).Should().Be(3);
        writer.Dispose();
        dialogue.Backend.Misbehave = (request, _) => request.Code switch
        {
            VhostUserRequest.SetDeviceStateFd => CloseAnd(request, Misbehaviour.Reply(request.Code, BitConverter.GetBytes(0UL), reader)),
            VhostUserRequest.CheckDeviceState => Misbehaviour.Reply(request.Code, BitConverter.GetBytes(0UL)),
            _ => null,
        };
        using MemoryStream saved = new();
        await dialogue.Session.SaveDeviceStateAsync(saved).InTime();
        saved.ToArray().Should().Equal(1, 2, 3);
        reader.Dispose();
        before.AssertBack();
    }

    [Theory]
    [InlineData(true, true)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(false, false)]
    public async Task F16_A_back_end_that_keeps_the_socket_it_sent_and_clears_its_flag_holds_up_neither_cancellation_nor_the_end(bool saves, bool cancels)
    {
        await using Dialogue dialogue = await Dialogue.StartAsync(_offer, _options with { DeviceStateTimeout = Timeout.InfiniteTimeSpan });
        (SafeFileHandle kept, SafeFileHandle other) = Libc.UnixSocketPair();
        short stands = saves ? Libc.POLLIN : Libc.POLLOUT;
        using (kept)
        using (other)
        {
            dialogue.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.SetDeviceStateFd
                ? CloseAnd(request, Misbehaviour.Reply(request.Code, BitConverter.GetBytes(0UL), kept))
                : null;
            using CancellationTokenSource stop = new();
            Task<long> moving = saves
                ? dialogue.Session.SaveDeviceStateAsync(Stream.Null, stop.Token).AsTask()
                : dialogue.Session.LoadDeviceStateAsync(new MemoryStream(new byte[1 << 20]), stop.Token).AsTask();
            MoveOn();
            await Eventually.TrueAsync(() => Libc.Poll(kept, stands, 0) == 0);
            RawDescriptors.SetNonBlocking(kept, nonBlocking: false);
            MoveOn();
            await Eventually.TrueAsync(() => Libc.Poll(kept, stands, 0) == 0);
            await (cancels ? stop.CancelAsync() : dialogue.Session.DisposeAsync().AsTask()).InTime();
            await moving.Invoking(task => task.InTime()).Should().ThrowAsync<Exception>().Where(e => cancels ? e is OperationCanceledException : e is VhostUserDisconnectedException);
        }

        void MoveOn()
        {
            if (saves)
                Libc.Write(other, [1]).Should().Be(1);
            else
                while (Libc.Read(other, new byte[1 << 16]) <= 0) Thread.Yield();
        }
    }

    [Fact]
    public async Task Answers_that_cannot_be_are_errors_and_leave_nothing_open()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync(_offer, _options);
        using EventNotifier notifier = new();
        (SafeFileHandle reader, SafeFileHandle writer) = Libc.Pipe();
        using (reader)
        using (writer)
        {
            ProcessCounts before = ProcessCounts.Snapshot();
            (await FailsAsync<VhostUserRejectedException>(0x105)).ReplyCode.Should().Be(0x105);
            (await FailsAsync<VhostUserRejectedException>(0x005, reader)).Message.Should().Contain("error 5");
            (await FailsAsync<VhostUserProtocolException>(0)).Message.Should().Contain("none came");
            (await FailsAsync<VhostUserProtocolException>(0, notifier.Descriptor)).Message.Should().Contain("eventfd");
            (await FailsAsync<VhostUserProtocolException>(0, writer)).Message.Should().Contain("the other one");
            before.AssertBack();
        }

        await dialogue.Session.ReadConfigAsync(0, new byte[4]);

        async Task<TException> FailsAsync<TException>(ulong answer, params SafeHandle[] descriptors)
            where TException : Exception
        {
            dialogue.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.SetDeviceStateFd
                ? CloseAnd(request, Misbehaviour.Reply(request.Code, BitConverter.GetBytes(answer), descriptors))
                : null;
            Func<Task> save = () => dialogue.Session.SaveDeviceStateAsync(Stream.Null).InTime();
            return (await save.Should().ThrowAsync<TException>()).Which;
        }
    }

    [Fact]
    public async Task A_state_without_end_is_cut_off()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync(_offer, _options with { MaxDeviceStateSize = 1 << 20 });
        TaskCompletionSource cut = new();
        Answer(dialogue, VhostUserTransferDirection.Save, async pipe =>
        {
            try
            {
                while (true)
                    await pipe.WriteAsync(new byte[4096]);
            }
            catch (IOException)
            {
                cut.SetResult();
            }
        });
        Func<Task> save = () => dialogue.Session.SaveDeviceStateAsync(Stream.Null).InTime();
        (await save.Should().ThrowAsync<VhostUserException>()).WithMessage("*more than 1048576 bytes*MaxDeviceStateSize*");
        await cut.Task.InTime();
    }

    [Fact]
    public async Task A_back_end_that_stands_still_or_fails_is_an_error_and_the_session_goes_on()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync(_offer, _options with { DeviceStateTimeout = TimeSpan.FromMilliseconds(50) });
        TaskCompletionSource end = new();
        Answer(dialogue, VhostUserTransferDirection.Save, async _ => await end.Task);
        Func<Task> save = () => dialogue.Session.SaveDeviceStateAsync(Stream.Null).InTime();
        (await save.Should().ThrowAsync<VhostUserTimeoutException>()).WithMessage("*sent nothing*DeviceStateTimeout*");
        Answer(dialogue, VhostUserTransferDirection.Load, async _ => await end.Task);
        Func<Task> load = () => dialogue.Session.LoadDeviceStateAsync(new MemoryStream(new byte[1 << 20])).InTime();
        (await load.Should().ThrowAsync<VhostUserTimeoutException>()).WithMessage("*taken nothing*");
        end.SetResult();

        Answer(dialogue, VhostUserTransferDirection.Load, static _ => ValueTask.CompletedTask, outcome: 1);
        (await load.Should().ThrowAsync<VhostUserRejectedException>()).Which.ReplyCode.Should().Be(1);
        Answer(dialogue, VhostUserTransferDirection.Load, static _ => ValueTask.CompletedTask);
        (await load.Should().ThrowAsync<VhostUserProtocolException>()).WithMessage("*closed its end before it had all*");
        await dialogue.Session.ReadConfigAsync(0, new byte[4]);
    }

    [Fact]
    public async Task Other_messages_go_while_a_state_travels_and_rings_and_another_transfer_wait()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync(_offer, _options);
        Pipe pipe = new();
        Answer(dialogue, VhostUserTransferDirection.Load, async to => await to.CopyToAsync(Stream.Null));
        Task<long> loading = dialogue.Session.LoadDeviceStateAsync(pipe.Reader).AsTask();
        await pipe.Writer.WriteAsync(new byte[10]);
        await Eventually.TrueAsync(() => dialogue.Backend.Requests.Any(request => request.Code == VhostUserRequest.SetDeviceStateFd));
        await dialogue.Session.ReadConfigAsync(0, new byte[4]).InTime();
        Func<Task> start = () => dialogue.Session.StartVringAsync(new VringSettings { Index = 0, Size = 4, DescriptorTable = default, AvailableRing = default, UsedRing = default }).InTime();
        (await start.Should().ThrowAsync<InvalidOperationException>()).WithMessage("*transferred*");
        Func<Task> save = () => dialogue.Session.SaveDeviceStateAsync(Stream.Null).InTime();
        (await save.Should().ThrowAsync<InvalidOperationException>()).WithMessage("*already*");
        await pipe.Writer.CompleteAsync();
        (await loading.InTime()).Should().Be(10);
    }

    [Fact]
    public async Task A_transfer_ends_when_it_is_cancelled_and_when_the_session_ends()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync(_offer, _options);
        ProcessCounts before = ProcessCounts.Snapshot();
        TaskCompletionSource end = new();
        Answer(dialogue, VhostUserTransferDirection.Save, async _ => await end.Task);
        using (CancellationTokenSource stop = new())
        {
            Task<long> saving = dialogue.Session.SaveDeviceStateAsync(Stream.Null, stop.Token).AsTask();
            await Eventually.TrueAsync(() => dialogue.Backend.Requests.Any(request => request.Code == VhostUserRequest.SetDeviceStateFd));
            await dialogue.Session.ReadConfigAsync(0, new byte[4]).InTime(); // behind the reply: what is given up in the middle of a message ends the session
            await stop.CancelAsync();
            await saving.Invoking(task => task.InTime()).Should().ThrowAsync<OperationCanceledException>();
        }

        int mark = dialogue.Backend.Mark();
        Task<long> lost = dialogue.Session.SaveDeviceStateAsync(Stream.Null).AsTask();
        await Eventually.TrueAsync(() => dialogue.Backend.Requests.Skip(mark).Any(request => request.Code == VhostUserRequest.SetDeviceStateFd));
        dialogue.Backend.Connection.Abort();
        await lost.Invoking(task => task.InTime()).Should().ThrowAsync<VhostUserDisconnectedException>();
        end.SetResult();
        before.AssertBack();
    }

    [Fact]
    public async Task Without_the_feature_or_with_a_ring_that_runs_nothing_is_sent()
    {
        await using (Dialogue without = await Dialogue.StartAsync())
        {
            Func<Task> save = () => without.Session.SaveDeviceStateAsync(Stream.Null).InTime();
            await save.Should().ThrowAsync<VhostUserFeatureException>();
        }

        await using Dialogue dialogue = await Dialogue.StartAsync(_offer, _options);
        using TestRings rings = new();
        await dialogue.Session.SetMemoryAsync(rings.Memory);
        await dialogue.Session.StartVringAsync(rings[0]);
        int mark = dialogue.Backend.Mark();
        Func<Task> load = () => dialogue.Session.LoadDeviceStateAsync(Stream.Null).InTime();
        (await load.Should().ThrowAsync<InvalidOperationException>()).WithMessage("Ring 0 is started*");
        dialogue.Backend.Since(mark).Should().BeEmpty();
    }

    /// <summary>The back-end takes the pipe that it is given, does something with it, closes it, and says how that ended.</summary>
    private static void Answer(Dialogue dialogue, VhostUserTransferDirection direction, Func<FileStream, ValueTask> use, ulong outcome = 0)
    {
        dialogue.Backend.Misbehave = (request, number) =>
        {
            if (request.Code == VhostUserRequest.CheckDeviceState)
                return Misbehaviour.Reply(request.Code, BitConverter.GetBytes(outcome));
            if (request.Code != VhostUserRequest.SetDeviceStateFd)
                return null;
            request.First.Should().Be((uint)direction);
            _ = Task.Run(() => UseAsync(request.Descriptors[0], direction, use));
            return Misbehaviour.Reply(request.Code, BitConverter.GetBytes(UseYours));
        };
    }

    private static async Task UseAsync(SafeFileHandle descriptor, VhostUserTransferDirection direction, Func<FileStream, ValueTask> use)
    {
        await using FileStream pipe = new(descriptor, direction == VhostUserTransferDirection.Save ? FileAccess.Write : FileAccess.Read, bufferSize: 0);
        await use(pipe);
    }

    private static Misbehaviour CloseAnd(ScriptedRequest request, Misbehaviour answer)
    {
        request.Descriptors[0].Dispose();
        return answer;
    }
}
