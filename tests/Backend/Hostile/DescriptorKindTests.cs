using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

/// <summary>
/// Descriptors that are not what the message says. A kick, call or error descriptor is an eventfd or, on purpose, a pipe: User-Mode Linux sends
/// pipes. Everything else is refused.
/// </summary>
[Collection(ProcessCounts.Name)]
public class DescriptorKindTests
{
    [Theory]
    [InlineData(VhostUserRequest.SetVringKick)]
    [InlineData(VhostUserRequest.SetVringCall)]
    [InlineData(VhostUserRequest.SetVringErr)]
    public async Task B10_A_notification_needs_a_descriptor_that_can_notify(VhostUserRequest request)
    {
        await HostileBench.AttackAsync(lines: 10, async frontend =>
        {
            using OddDescriptors kinds = new();
            using TestGuest guest = new();
            using SafeFileHandle readOnly = RawDescriptors.Reopen(guest.Shared.Descriptor, pathOnly: false);
            await frontend.SendAsync(VhostUserRequest.SetVringNum, RawFrontend.State(0, 16));
            foreach (SafeHandle descriptor in kinds.CannotNotify.Append(guest.Shared.Descriptor).Append(readOnly))
                await frontend.RefusedAsync(request, RawFrontend.U64(0), descriptor);
        });
    }

    [Fact]
    public async Task B10_Memory_needs_a_file_that_can_be_mapped()
    {
        await HostileBench.AttackAsync(lines: 26, async frontend =>
        {
            using OddDescriptors kinds = new();
            using TestGuest guest = new();
            using TestGuest good = new(slot: 1);
            using TestRing ring = new(good, 0);
            using SafeFileHandle readOnly = RawDescriptors.Reopen(guest.Shared.Descriptor, pathOnly: false);
            using SafeFileHandle path = RawDescriptors.Reopen(guest.Shared.Descriptor, pathOnly: true);
            await frontend.AddMemoryAsync(good);
            await frontend.StartAsync(ring);
            byte[] table = RawFrontend.TableOf(guest, good).Payload;
            foreach (SafeHandle descriptor in kinds.CannotBeMapped.Append(readOnly).Append(path))
            {
                await frontend.RefusedAsync(VhostUserRequest.AddMemReg, RawFrontend.Bytes(guest.Single), descriptor);
                await frontend.RefusedAsync(VhostUserRequest.SetMemTable, table, descriptor, good.Shared.Descriptor);
            }

            await ring.EchoAsync(0x11);
        });
    }

    /// <summary>Pipes are accepted: either end, whatever it is good for. An end that cannot be read gives no kicks, and that is all.</summary>
    [Theory]
    [InlineData(QueueDispatch.Async)]
    [InlineData(QueueDispatch.DedicatedThread)]
    [InlineData(QueueDispatch.SharedThreads)]
    [InlineData(QueueDispatch.BusyPoll)]
    public async Task B10_A_pipe_is_a_notification_and_its_wrong_end_harms_nobody(QueueDispatch dispatch)
    {
        await HostileBench.AttackAsync(
            lines: 0,
            async frontend =>
            {
                (SafeFileHandle reader, SafeFileHandle writer) = RawDescriptors.Pipe();
                using TestGuest guest = new();
                using TestRing ring = new(guest, 0);
                using (reader)
                using (writer)
                {
                    await frontend.AddMemoryAsync(guest);
                    await frontend.DescribeAsync(ring);
                    await frontend.AcceptedAsync(VhostUserRequest.SetVringCall, RawFrontend.Word(ring), reader);
                    await frontend.AcceptedAsync(VhostUserRequest.SetVringErr, RawFrontend.Word(ring), reader);
                    await frontend.AcceptedAsync(VhostUserRequest.SetVringKick, RawFrontend.Word(ring), writer);
                    ring.Submit(1);
                    await frontend.EnableAsync(ring);
                    await ring.ExpectEchoAsync(1);
                    await frontend.AcceptedAsync(VhostUserRequest.SetVringCall, RawFrontend.Word(ring), writer);
                    await frontend.AcceptedAsync(VhostUserRequest.SetVringKick, RawFrontend.Word(ring), reader);
                    ring.Submit(2);
                    Libc.Write(writer, [1]).Should().Be(1);
                    await ring.ExpectEchoAsync(2);
                }
            },
            new VhostUserBackendOptions { Dispatch = dispatch });
    }

    /// <summary>A back-end that kept the front-end's own end would hold the connection, and with it the only turn, after the front-end's death.</summary>
    [Fact]
    public async Task B10_The_socket_of_the_connection_itself_is_refused_for_every_use()
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        using (SafeFileHandle socket = Libc.UnixSocket())
        {
            Libc.Connect(socket, UnixSocketAddress.Encode(bench.SocketPath, "path")).Should().Be(0);
            RawFrontend frontend = new(VhostUserConnection.Adopt(Libc.Duplicate(socket)));
            await frontend.NegotiateAsync();
            using (TestGuest guest = new())
                await frontend.RefusedAsync(VhostUserRequest.AddMemReg, RawFrontend.Bytes(guest.Single), socket);
            foreach (VhostUserRequest request in new[] { VhostUserRequest.SetVringKick, VhostUserRequest.SetVringCall, VhostUserRequest.SetVringErr })
                await frontend.RefusedAsync(request, RawFrontend.U64(0), socket);
            await frontend.RefusedAsync(VhostUserRequest.SetBackendReqFd, default, socket);
            await frontend.BarrierAsync();
            await frontend.DisposeAsync();
        }

        await bench.CheckInvariantsAsync(lines: 5);
    }

    [SkippableTheory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task B10_Nor_is_the_end_of_a_connection_without_a_name_a_channel(bool connects)
    {
        Skip.IfNot(KernelNamesPeers(), "this kernel does not say which sockets belong together (unix_diag)");
        await using VhostUserBackend backend = new(new EchoDevice(), new VhostUserBackendOptions { Retry = null });
        (SafeFileHandle end, Task served) = connects ? await AcceptedAsync(backend) : Paired(backend);
        using (end)
        {
            await using RawFrontend frontend = new(VhostUserConnection.Adopt(Libc.Duplicate(end)));
            await frontend.NegotiateAsync();
            await frontend.RefusedAsync(VhostUserRequest.SetBackendReqFd, default, end);
            await frontend.BarrierAsync();
        }

        await served.InTime();
    }

    /// <summary>Two devices of one process, each given the end of the other's connection, would keep each other alive.</summary>
    [SkippableFact]
    public async Task B10_Nor_is_the_end_of_a_connection_to_another_device_of_this_process()
    {
        Skip.IfNot(KernelNamesPeers(), "this kernel does not say which sockets belong together (unix_diag)");
        await using VhostUserBackend one = new(new EchoDevice());
        await using VhostUserBackend other = new(new EchoDevice());
        (SafeFileHandle end, Task served) = Paired(one);
        (SafeFileHandle otherEnd, Task otherServed) = Paired(other);
        using (end)
        using (otherEnd)
        {
            await using RawFrontend frontend = new(VhostUserConnection.Adopt(Libc.Duplicate(end)));
            await frontend.NegotiateAsync();
            await frontend.RefusedAsync(VhostUserRequest.SetBackendReqFd, default, otherEnd);
        }

        await Task.WhenAll(served, otherServed).InTime();
        (SafeFileHandle ours, SafeFileHandle theirs) = Libc.UnixSocketPair();
        using (ours)
        using (theirs)
        {
            (end, served) = Paired(one);
            await using RawFrontend frontend = new(VhostUserConnection.Adopt(end));
            await frontend.NegotiateAsync();
            await frontend.AcceptedAsync(VhostUserRequest.SetBackendReqFd, default, theirs);
        }

        await served.InTime();
    }

    private static bool KernelNamesPeers()
    {
        (SafeFileHandle ours, SafeFileHandle theirs) = Libc.UnixSocketPair();
        using (ours)
        using (theirs)
            return Libc.PeerNumber(ours) == DescriptorInfo.FileNumber(theirs);
    }

    private static (SafeFileHandle End, Task Served) Paired(VhostUserBackend backend)
    {
        (SafeFileHandle end, SafeFileHandle ours) = Libc.UnixSocketPair();
        return (end, backend.ServeAsync(VhostUserConnection.Adopt(ours)));
    }

    private static async Task<(SafeFileHandle End, Task Served)> AcceptedAsync(VhostUserBackend backend)
    {
        using TempSocket path = new();
        using SafeFileHandle listener = Libc.UnixSocket();
        Libc.Bind(listener, UnixSocketAddress.Encode(path.Path, "path")).Should().Be(0);
        Libc.Listen(listener, 1).Should().Be(0);
        Task served = backend.ConnectAsync(path.Path);
        (await Task.Run(() => Libc.Poll(listener, Libc.POLLIN, 20_000))).Should().BePositive("it connects");
        SafeFileHandle end = Libc.Accept(listener, out int errno);
        errno.Should().Be(0);
        return (end, served);
    }

    [Fact]
    public async Task B10_A_connection_to_this_back_end_is_no_back_end_channel()
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        using (SafeFileHandle other = Libc.UnixSocket())
        {
            Libc.Connect(other, UnixSocketAddress.Encode(bench.SocketPath, "path")).Should().Be(0);
            await frontend.RefusedAsync(VhostUserRequest.SetBackendReqFd, default, other);
        }

        await bench.CheckInvariantsAsync(lines: 1);
        bench.Complaints.Single().Should().Contain("socket pair");
    }
}
