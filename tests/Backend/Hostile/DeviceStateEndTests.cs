using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using Vhost.Tests.Support;
using static Vhost.Backend.Tests.DeviceStateSteps;

namespace Vhost.Backend.Tests.Hostile;

/// <summary>B34: what ends a transfer of a device's state before it is over, and what does not.</summary>
[Collection(ProcessCounts.Name)]
public class DeviceStateEndTests
{
    [Fact]
    public async Task B34_The_next_transfer_a_reset_and_the_end_of_the_session_end_one_that_stands_still()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        StatefulDevice device = new() { State = new byte[1 << 20] };
        int ended = 0;
        device.BeforeSaving = async (writer, stop) =>
        {
            try
            {
                await writer.WriteAsync(new byte[1 << 20], stop);
            }
            finally
            {
                ended++;
            }
        };
        (SafeFileHandle reader, SafeFileHandle writer) = Libc.Pipe();
        using (reader)
        using (writer)
        {
            await using (SessionBench bench = await SessionBench.StartAsync(device, new() { DeviceStateTimeout = Timeout.InfiniteTimeSpan }))
            {
                (await BeginAsync(bench.Frontend, Save, writer)).Should().Be(OwnDescriptorIsUsed);
                (await BeginAsync(bench.Frontend, Save, writer)).Should().Be(OwnDescriptorIsUsed);
                ended.Should().Be(1);
                int resets = device.Resets;
                await bench.Frontend.AcceptedAsync(VhostUserRequest.ResetDevice);
                (ended, device.Resets).Should().Be((2, resets + 1));
                (await BeginAsync(bench.Frontend, Save, writer)).Should().Be(OwnDescriptorIsUsed);
            }

            ended.Should().Be(3);
        }

        before.AssertBack();
    }

    [Fact]
    public async Task A_ring_that_starts_after_all_ends_a_state_that_is_still_being_written()
    {
        StatefulDevice device = new() { BeforeSaving = static async (_, stop) => await Task.Delay(Timeout.Infinite, stop) };
        await using SessionBench bench = await SessionBench.StartAsync(device);
        (SafeFileHandle reader, SafeFileHandle writer) = Libc.Pipe();
        using (writer)
        {
            using (reader)
                (await BeginAsync(bench.Frontend, Save, writer)).Should().Be(OwnDescriptorIsUsed);
            TestRing ring = await bench.RunAsync();
            await ring.EchoAsync(1);
        }

        (await CheckAsync(bench.Frontend)).Should().NotBe(0);
    }

    [Fact]
    public async Task B34_A_front_end_that_goes_while_it_waits_for_the_outcome_leaves_no_transfer_behind()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        (SafeFileHandle reader, SafeFileHandle writer) = Libc.Pipe();
        using (writer)
        {
            await using SessionBench bench = await SessionBench.StartAsync(new StatefulDevice(), new() { DeviceStateTimeout = Timeout.InfiniteTimeSpan });
            using (reader)
                (await BeginAsync(bench.Frontend, Load, reader)).Should().Be(OwnDescriptorIsUsed);
            await bench.Frontend.SendAsync(VhostUserRequest.CheckDeviceState);
            await bench.Frontend.DisposeAsync();
            await bench.Served.InTime();
        }

        before.AssertBack();
    }

    /// <summary>Messages that nobody has received yet stand before the end of the connection.</summary>
    [Fact]
    public async Task B34_Nor_does_one_that_said_more_before_it_went_while_an_accomplice_keeps_the_pipe()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        (SafeFileHandle reader, SafeFileHandle accomplice) = Libc.Pipe();
        using (accomplice)
        {
            await using SessionBench bench = await SessionBench.StartAsync(new StatefulDevice());
            using (reader)
                (await BeginAsync(bench.Frontend, Load, reader)).Should().Be(OwnDescriptorIsUsed);
            await bench.Frontend.SendAsync(VhostUserRequest.CheckDeviceState);
            await bench.Frontend.SendAsync(VhostUserRequest.GetFeatures);
            await bench.Frontend.SendAsync(VhostUserRequest.GetFeatures);
            await bench.Frontend.DisposeAsync();

            await Eventually.TrueAsync(() => Libc.Write(accomplice, [1]) != 1, "the session has ended, and closed the pipe"); // a byte now and then
            await bench.Served.InTime();
        }

        before.AssertBack();
    }

    [Fact]
    public async Task What_is_said_while_the_outcome_is_awaited_is_answered_after_it()
    {
        StatefulDevice device = new();
        await using SessionBench bench = await SessionBench.StartAsync(device);
        (SafeFileHandle reader, SafeFileHandle writer) = Libc.Pipe();
        using (writer)
        {
            using (reader)
                (await BeginAsync(bench.Frontend, Load, reader)).Should().Be(OwnDescriptorIsUsed);
            await bench.Frontend.SendAsync(VhostUserRequest.CheckDeviceState);
            await bench.Frontend.SendAsync(VhostUserRequest.GetFeatures);
            Libc.Write(writer, [3]).Should().Be(1);
        }

        BitConverter.ToUInt64(await bench.Frontend.ReplyToAsync((uint)VhostUserRequest.CheckDeviceState)).Should().Be(0);
        (await bench.Frontend.ReplyToAsync((uint)VhostUserRequest.GetFeatures)).Should().HaveCount(8);
        device.State.Should().Equal(3);
    }

    [Fact]
    public async Task A_device_that_does_not_return_is_neither_reset_nor_started_beside_itself()
    {
        TaskCompletionSource goOn = new(TaskCreationOptions.RunContinuationsAsynchronously);
        TaskCompletionSource inside = new(TaskCreationOptions.RunContinuationsAsynchronously);
        StatefulDevice device = new()
        {
            BeforeTaking = async _ =>
            {
                inside.SetResult();
                await goOn.Task;
            },
        };
        await using VhostUserBackend backend = new(device, new() { DrainTimeout = TimeSpan.FromMilliseconds(50) });
        using TestGuest guest = new();
        using TestRing ring = new(guest, 0);
        int resets = device.Resets;
        (VhostUserConnection end, VhostUserConnection ours) = VhostUserConnection.CreatePair();
        Task first = backend.ServeAsync(ours);
        await using (RawFrontend frontend = new(end))
        {
            await frontend.NegotiateAsync();
            await LoadAsync(frontend, [7]);
            await inside.Task.InTime();
            await frontend.RefusedAsync(VhostUserRequest.ResetDevice, default);
        }

        await first.InTime();
        device.Resets.Should().Be(resets);
        (end, ours) = VhostUserConnection.CreatePair();
        Task second = backend.ServeAsync(ours);
        await using (RawFrontend frontend = new(end))
        {
            ulong features = await frontend.AskU64Async(VhostUserRequest.GetFeatures);
            await frontend.SendAsync(VhostUserRequest.SetProtocolFeatures, RawFrontend.U64(await frontend.AskU64Async(VhostUserRequest.GetProtocolFeatures)));
            await frontend.RefusedAsync(VhostUserRequest.SetFeatures, RawFrontend.U64(features));
            (SafeFileHandle reader, SafeFileHandle writer) = Libc.Pipe();
            using (reader)
            using (writer)
                (await BeginAsync(frontend, Save, writer)).Should().NotBe(OwnDescriptorIsUsed);
        }

        await second.InTime();
        device.Resets.Should().Be(resets, "the device of the first session still works");
        goOn.SetResult();
        await Eventually.TrueAsync(() => device.Resets == resets + 1);
        (end, ours) = VhostUserConnection.CreatePair();
        Task third = backend.ServeAsync(ours);
        await using (RawFrontend frontend = new(end))
        {
            await frontend.NegotiateAsync();
            await frontend.AddMemoryAsync(guest);
            await frontend.StartAsync(ring);
            await ring.EchoAsync(1);
        }

        await third.InTime();
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task B34_A_front_end_that_keeps_the_socket_and_clears_its_flag_holds_up_nothing(bool saves)
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        StatefulDevice device = new() { State = new byte[1 << 20] };
        (SafeFileHandle kept, SafeFileHandle other) = Libc.UnixSocketPair();
        using (kept)
        using (other)
        {
            await using SessionBench bench = await SessionBench.StartAsync(device, new() { DeviceStateTimeout = Timeout.InfiniteTimeSpan });
            (await BeginAsync(bench.Frontend, saves ? Save : Load, kept)).Should().Be(OwnDescriptorIsUsed);
            RawDescriptors.SetNonBlocking(kept, nonBlocking: false);
            await MoveOnAsync(kept, other, saves);
            int resets = device.Resets;
            await bench.Frontend.AcceptedAsync(VhostUserRequest.ResetDevice);
            device.Resets.Should().Be(resets + 1, "the device has returned from the transfer");
            TestRing ring = await bench.RunAsync();
            await ring.EchoAsync(1);
        }

        before.AssertBack();
    }

    /// <summary>Has the device come back for more after the flag was cleared: to write again what was taken, or to read on behind a byte.</summary>
    private static async Task MoveOnAsync(SafeFileHandle kept, SafeFileHandle other, bool saves)
    {
        if (!saves)
        {
            Libc.Write(other, [1]).Should().Be(1);
            await Eventually.TrueAsync(() => Libc.Poll(kept, Libc.POLLIN, 0) == 0);
            return;
        }

        await Eventually.TrueAsync(() => Libc.Poll(kept, Libc.POLLOUT, 0) == 0);
        byte[] piece = new byte[1 << 16];
        while (Libc.Read(other, piece) > 0 && Libc.Poll(kept, Libc.POLLOUT, 0) == 0)
        {
        }

        await Eventually.TrueAsync(() => Libc.Poll(kept, Libc.POLLOUT, 0) == 0);
    }
}
