using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

[Collection(ProcessCounts.Name)]
public class DescriptorTests
{
    [Theory]
    [InlineData(9)]
    [InlineData(33)]
    [InlineData(253)]
    public async Task B08_More_descriptors_than_any_message_has_close_the_connection(int count)
    {
        await HostileBench.AttackAsync(lines: 1, async frontend =>
        {
            using EventNotifier notifier = new();
            await frontend.SendAsync(VhostUserRequest.SetOwner, default, Enumerable.Repeat((SafeHandle)notifier.Descriptor, count).ToArray());
            await frontend.ExpectClosedAsync();
        });
    }

    [Fact]
    public async Task B09_Running_out_of_descriptors_costs_the_connection_and_nothing_else()
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        {
            using TestGuest guest = new();
            await using RawFrontend frontend = await bench.NegotiatedAsync();
            await frontend.BarrierAsync();
            using (DescriptorLimit.Leaving(0))
            {
                await frontend.SendAsync(VhostUserRequest.AddMemReg, RawFrontend.Bytes(guest.Single), guest.Shared.Descriptor);
                await frontend.ExpectClosedAsync();
            }
        }

        await bench.CheckInvariantsAsync(lines: 1);
    }

    [Fact]
    public async Task B09_A_front_end_that_cannot_be_accepted_for_want_of_descriptors_is_accepted_later()
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        {
            SafeFileHandle socket = Libc.UnixSocket();
            using (DescriptorLimit.Leaving(0))
            {
                Libc.Connect(socket, UnixSocketAddress.Encode(bench.SocketPath, "path")).Should().Be(0);
                await Eventually.TrueAsync(() => bench.Complaints.Count == 1);
            }

            await using RawFrontend frontend = new(VhostUserConnection.Adopt(socket));
            await frontend.BarrierAsync();
        }

        await bench.CheckInvariantsAsync(lines: 1);
    }

    [Theory]
    [InlineData(VhostUserRequest.SetVringCall)]
    [InlineData(VhostUserRequest.SetVringErr)]
    public async Task B11_The_no_descriptor_flag_must_agree_with_what_came(VhostUserRequest request)
    {
        await HostileBench.AttackAsync(lines: 2, async frontend =>
        {
            using EventNotifier notifier = new();
            await frontend.AcceptedAsync(request, RawFrontend.U64(0x100));
            await frontend.AcceptedAsync(request, RawFrontend.U64(0), notifier.Descriptor);
            await frontend.RefusedAsync(request, RawFrontend.U64(0x100), notifier.Descriptor);
            await frontend.RefusedAsync(request, RawFrontend.U64(0));
        });
    }

    [Fact]
    public async Task B11_A_ring_without_kick_descriptor_is_polled()
    {
        await HostileBench.AttackAsync(lines: 2, async frontend =>
        {
            using TestGuest guest = new();
            using TestRing ring = new(guest, 0);
            await frontend.AddMemoryAsync(guest);
            await frontend.DescribeAsync(ring);
            await frontend.RefusedAsync(VhostUserRequest.SetVringKick, RawFrontend.Word(ring, noDescriptor: true), ring.Kick.Descriptor);
            await frontend.RefusedAsync(VhostUserRequest.SetVringKick, RawFrontend.Word(ring));
            await frontend.AcceptedAsync(VhostUserRequest.SetVringKick, RawFrontend.Word(ring, noDescriptor: true));
            await frontend.EnableAsync(ring);
            for (byte i = 1; i < 5; i++)
            {
                ring.Submit(i);
                await ring.ExpectEchoAsync(i);
            }
        });
    }
}
