using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using Vhost.Tests.Support;
using static Vhost.Backend.Tests.DeviceStateSteps;

namespace Vhost.Backend.Tests.Hostile;

/// <summary>B34: transfers of a device's state by front-ends that get them wrong, and by some that get them right.</summary>
[Collection(ProcessCounts.Name)]
public class DeviceStateTests
{
    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.SetDeviceStateFd, VhostUserRequest.CheckDeviceState, VhostUserProtocolFeatures.DeviceState)]
    public async Task A_state_is_saved_and_loaded_and_the_device_goes_on()
    {
        StatefulDevice device = new() { State = [.. Enumerable.Range(0, 200_000).Select(static i => (byte)(i * 7))] };
        await using SessionBench bench = await SessionBench.StartAsync(device);
        TestRing ring = await bench.RunAsync();
        await ring.EchoAsync(1);
        await bench.Frontend.StopAsync(ring);

        byte[] saved = await SaveAsync(bench.Frontend);
        saved.Should().Equal(device.State);
        (await CheckAsync(bench.Frontend)).Should().Be(0);
        (await CheckAsync(bench.Frontend)).Should().Be(0, "the outcome stays what it is");

        device.State = [];
        await LoadAsync(bench.Frontend, saved);
        (await CheckAsync(bench.Frontend)).Should().Be(0);
        device.State.Should().Equal(saved);
        await bench.Frontend.StartAsync(ring, 1);
        await ring.EchoAsync(2);
    }

    [Fact]
    public async Task Messages_are_answered_while_a_state_travels_but_for_those_that_would_change_the_device()
    {
        StatefulDevice device = new();
        await using SessionBench bench = await SessionBench.StartAsync(device);
        RawFrontend frontend = bench.Frontend;
        TestRing ring = bench.Ring();
        await frontend.DescribeAsync(ring);
        ulong features = await frontend.AskU64Async(VhostUserRequest.GetFeatures) & ~(ulong)VirtioFeatures.RingPacked;
        (SafeFileHandle reader, SafeFileHandle writer) = Libc.Pipe();
        using (reader)
        using (writer)
        {
            (await BeginAsync(frontend, Load, reader)).Should().Be(OwnDescriptorIsUsed);
            (await frontend.AskAsync(VhostUserRequest.GetConfig, ConfigWindow(0, new byte[4]))).Should().HaveCount(16);
            await frontend.AcceptedAsync(VhostUserRequest.SetFeatures, RawFrontend.U64(features));
            await frontend.RefusedAsync(VhostUserRequest.SetFeatures, RawFrontend.U64(features & ~(ulong)VirtioFeatures.EventIndex));
            await frontend.RefusedAsync(VhostUserRequest.SetConfig, ConfigWindow(32, new byte[1]));
            await frontend.RefusedAsync(VhostUserRequest.SetVringKick, RawFrontend.Word(ring), ring.Kick.Descriptor);
            Libc.Write(writer, [9]).Should().Be(1);
        }

        (await CheckAsync(frontend)).Should().Be(0);
        device.State.Should().Equal(9);
        await frontend.KickAsync(ring);
        await frontend.EnableAsync(ring);
        await ring.EchoAsync(1);
    }

    [Theory]
    [InlineData(2u, 0u)]
    [InlineData(uint.MaxValue, 0u)]
    [InlineData(0u, 1u)]
    [InlineData(1u, uint.MaxValue)]
    public async Task B34_A_direction_or_a_phase_that_there_is_not_is_an_error(uint direction, uint phase)
    {
        LogRecorder log = new();
        await using SessionBench bench = await SessionBench.StartAsync(new StatefulDevice(), new() { LoggerFactory = log });
        (SafeFileHandle reader, SafeFileHandle writer) = Libc.Pipe();
        using (reader)
        using (writer)
        {
            byte[] said = RawFrontend.Bytes(new VhostUserDeviceState((VhostUserTransferDirection)direction, (VhostUserTransferPhase)phase));
            (await BeginAsync(bench.Frontend, said, writer)).Should().Be(Failed);
        }

        log.Lines.Should().ContainMatch(direction > 1 ? $"*SET_DEVICE_STATE_FD: direction {direction}*" : $"*SET_DEVICE_STATE_FD: phase {phase}*");
        (await CheckAsync(bench.Frontend)).Should().NotBe(0, "nothing was transferred");
    }

    [Fact]
    public async Task B34_While_a_queue_is_started_nothing_is_transferred()
    {
        await using SessionBench bench = await SessionBench.StartAsync(new StatefulDevice());
        TestRing ring = await bench.RunAsync(1);
        (SafeFileHandle reader, SafeFileHandle writer) = Libc.Pipe();
        using (reader)
        using (writer)
        {
            (await BeginAsync(bench.Frontend, Save, writer)).Should().Be(Failed);
            (await BeginAsync(bench.Frontend, Load, reader)).Should().Be(Failed);
        }

        await ring.EchoAsync(1);
    }

    [Fact]
    public async Task B34_What_cannot_carry_a_state_is_refused()
    {
        await using SessionBench bench = await SessionBench.StartAsync(new StatefulDevice());
        using EventNotifier notifier = new();
        using SharedMemory memory = SharedMemory.CreateSealed("state", 4096);
        (SafeFileHandle reader, SafeFileHandle writer) = Libc.Pipe();
        using (reader)
        using (writer)
        {
            ProcessCounts before = ProcessCounts.Snapshot();
            (await BeginAsync(bench.Frontend, Save, reader)).Should().Be(Failed, "it is the wrong end");
            (await BeginAsync(bench.Frontend, Load, writer)).Should().Be(Failed, "it is the wrong end");
            (await BeginAsync(bench.Frontend, Save, notifier.Descriptor)).Should().Be(Failed);
            (await BeginAsync(bench.Frontend, Load, memory.Descriptor)).Should().Be(Failed);
            using (SafeFileHandle path = RawDescriptors.Reopen(reader, pathOnly: true))
                (await BeginAsync(bench.Frontend, Load, path)).Should().Be(Failed);
            before.AssertBack();
        }
    }

    [Fact]
    public async Task B34_A_pipe_that_nobody_reads_is_an_error_in_the_end()
    {
        StatefulDevice device = new() { State = new byte[1 << 20] };
        await using SessionBench bench = await SessionBench.StartAsync(device);
        (SafeFileHandle reader, SafeFileHandle writer) = Libc.Pipe();
        using (reader)
        using (writer)
            (await BeginAsync(bench.Frontend, Save, writer)).Should().Be(OwnDescriptorIsUsed);
        (await CheckAsync(bench.Frontend)).Should().NotBe(0);
        await bench.Frontend.BarrierAsync();
    }

    [Fact]
    public async Task B34_A_state_without_end_is_cut_off()
    {
        LogRecorder log = new();
        await using SessionBench bench = await SessionBench.StartAsync(new StatefulDevice(), new() { LoggerFactory = log, MaxDeviceStateSize = 1 << 20 });
        (SafeFileHandle reader, SafeFileHandle writer) = Libc.Pipe();
        using (writer)
        {
            using (reader)
                (await BeginAsync(bench.Frontend, Load, reader)).Should().Be(OwnDescriptorIsUsed);
            byte[] piece = new byte[4096];
            int written = 0;
            await Task.Run(() =>
            {
                while (Libc.Write(writer, piece) is > 0 and var count)
                    written += count;
            }).InTime();
            written.Should().BeInRange(1 << 20, 3 << 20, "the pipe itself holds some");
            (await CheckAsync(bench.Frontend)).Should().NotBe(0);
        }

        log.Lines.Should().ContainMatch("*CHECK_DEVICE_STATE: The state has more than 1048576 bytes*MaxDeviceStateSize*");
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task B34_A_check_before_the_end_waits_as_long_as_a_peer_may_stand_still_and_is_an_error(bool saves)
    {
        FakeTimeProvider clock = new();
        LogRecorder log = new();
        VhostUserBackendOptions options = new() { LoggerFactory = log, TimeProvider = clock, DeviceStateTimeout = TimeSpan.FromSeconds(3) };
        await using SessionBench bench = await SessionBench.StartAsync(new StatefulDevice { State = new byte[1 << 20] }, options);
        (SafeFileHandle reader, SafeFileHandle writer) = Libc.Pipe();
        using (reader)
        using (writer)
        {
            (await BeginAsync(bench.Frontend, saves ? Save : Load, saves ? writer : reader)).Should().Be(OwnDescriptorIsUsed);
            await bench.Frontend.SendAsync(VhostUserRequest.CheckDeviceState);
            Task<byte[]> answer = bench.Frontend.ReplyToAsync((uint)VhostUserRequest.CheckDeviceState);
            while (!answer.IsCompleted)
            {
                clock.Advance(TimeSpan.FromSeconds(1));
                await Task.Yield();
            }

            BitConverter.ToUInt64(await answer).Should().NotBe(0);
        }

        log.Lines.Should().ContainMatch(saves ? "*has taken nothing for 3 s*DeviceStateTimeout*" : "*has sent nothing for 3 s, after 0 bytes*");
    }

    [Fact]
    public async Task A_check_of_a_load_waits_until_the_device_has_taken_the_state()
    {
        TaskCompletionSource taken = new();
        StatefulDevice device = new() { BeforeTaking = async stop => await taken.Task.WaitAsync(stop) };
        await using SessionBench bench = await SessionBench.StartAsync(device);
        await LoadAsync(bench.Frontend, [5]);
        await bench.Frontend.SendAsync(VhostUserRequest.CheckDeviceState);
        Task<byte[]> answer = bench.Frontend.ReplyToAsync((uint)VhostUserRequest.CheckDeviceState);
        answer.IsCompleted.Should().BeFalse();
        taken.SetResult();
        BitConverter.ToUInt64(await answer).Should().Be(0);
        device.State.Should().Equal(5);
    }

    [Fact]
    public async Task A_device_that_throws_or_leaves_bytes_unread_is_an_error_in_the_end()
    {
        LogRecorder log = new();
        StatefulDevice device = new() { BeforeTaking = static _ => throw new InvalidDataException("version 9 is not known") };
        await using SessionBench bench = await SessionBench.StartAsync(device, new() { LoggerFactory = log });
        await LoadAsync(bench.Frontend, [5]);
        (await CheckAsync(bench.Frontend)).Should().NotBe(0);
        device.ReadsNothing = true;
        await LoadAsync(bench.Frontend, [5]);
        (await CheckAsync(bench.Frontend)).Should().NotBe(0);
        device.BeforeSaving = static (_, _) => throw new NotSupportedException("no");
        (await SaveAsync(bench.Frontend)).Should().BeEmpty();
        (await CheckAsync(bench.Frontend)).Should().NotBe(0);
        log.Lines.Should().ContainMatch("*version 9 is not known*").And.ContainMatch("*has not read all of the state*").And.ContainMatch("*NotSupportedException: no*");
    }

    [Fact]
    public async Task B34_Transfers_without_end_leave_nothing_behind()
    {
        StatefulDevice device = new();
        await using SessionBench bench = await SessionBench.StartAsync(device);
        await SaveAsync(bench.Frontend); // all that is opened once
        ProcessCounts before = ProcessCounts.Snapshot();
        for (int i = 0; i < 100_000; i++)
        {
            (SafeFileHandle reader, SafeFileHandle writer) = Libc.Pipe();
            using (reader)
            using (writer)
                (await BeginAsync(bench.Frontend, i % 2 == 0 ? Save : Load, i % 2 == 0 ? writer : reader)).Should().Be(OwnDescriptorIsUsed);
            if (i % 64 == 0)
                await CheckAsync(bench.Frontend);
        }

        await CheckAsync(bench.Frontend);
        before.AssertBack();
    }

    private static byte[] ConfigWindow(uint offset, byte[] window) =>
        [.. BitConverter.GetBytes(offset), .. BitConverter.GetBytes((uint)window.Length), .. BitConverter.GetBytes(0u), .. window];
}
