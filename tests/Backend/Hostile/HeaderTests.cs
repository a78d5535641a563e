using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

[Collection(ProcessCounts.Name)]
public class HeaderTests
{
    [Fact]
    public async Task B01_A_message_may_arrive_byte_by_byte()
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        using (TestGuest guest = new())
        {
            await SendBytewiseAsync(frontend, VhostUserRequest.GetFeatures, []);
            await frontend.ReplyToAsync((uint)VhostUserRequest.GetFeatures);
            await SendBytewiseAsync(
                frontend, VhostUserRequest.AddMemReg, RawFrontend.Bytes(new VhostUserSingleRegion(guest.Region)), guest.Shared.Descriptor);
            await frontend.RemoveMemoryAsync(guest);
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(11)]
    [InlineData(12)]
    [InlineData(16)]
    public async Task B02_A_message_cut_short_by_the_end_of_the_stream_closes_the_connection(int bytes)
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            byte[] message = MessageBytes((uint)VhostUserRequest.SetVringNum, RawFrontend.Plain, 8, RawFrontend.State(0, 16));
            await frontend.Connection.SendRawAsync(message.AsMemory(0, bytes));
        }

        await bench.CheckInvariantsAsync(lines: 1);
    }

    [Theory]
    [InlineData(4109u)]
    [InlineData(0x7fffffffu)]
    [InlineData(uint.MaxValue)]
    public async Task B03_A_payload_beyond_the_maximum_closes_the_connection_without_allocation(uint size)
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        long before = GC.GetTotalAllocatedBytes(precise: true);
        await using (RawFrontend frontend = await bench.ConnectAsync())
        {
            await frontend.Connection.SendRawAsync(MessageBytes((uint)VhostUserRequest.SetFeatures, RawFrontend.Plain, size, []));
            await frontend.ExpectClosedAsync();
        }

        (GC.GetTotalAllocatedBytes(precise: true) - before).Should().BeLessThan(16 << 20);
        await bench.CheckInvariantsAsync(lines: 1);
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(46u)]
    [InlineData(255u)]
    [InlineData(0x7fffffffu)]
    public async Task B05_An_unknown_request_is_refused_when_a_reply_is_wanted_and_ignored_otherwise(uint request)
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            (await frontend.AcknowledgementAsync(request)).Should().NotBe(0);
            await frontend.SendAsync(request, RawFrontend.Plain, new byte[20]);
            await frontend.BarrierAsync();
        }

        await bench.CheckInvariantsAsync(lines: 2);
    }

    [Theory]
    [InlineData(46u)]
    [InlineData(255u)]
    public async Task B05_An_unknown_request_without_reply_closes_the_connection_where_that_is_asked_for(uint request)
    {
        await using HostileBench bench = await HostileBench.StartAsync(options: new VhostUserBackendOptions { CloseOnUnknownRequest = true });
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            (await frontend.AcknowledgementAsync(46)).Should().NotBe(0);
            await frontend.SendAsync(request, RawFrontend.Plain, new byte[8]);
            await frontend.ExpectClosedAsync();
        }

        await bench.CheckInvariantsAsync(lines: 2);
    }

    [Theory]
    [InlineData(0x0u)]
    [InlineData(0x2u)]
    [InlineData(0x3u)]
    [InlineData(0x5u)]
    [InlineData(0xdu)]
    [InlineData(0x11u)]
    [InlineData(0x80000001u)]
    public async Task B06_Wrong_flags_close_the_connection(uint flags)
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            await frontend.SendAsync((uint)VhostUserRequest.GetFeatures, (VhostUserHeaderFlags)flags, default);
            await frontend.ExpectClosedAsync();
        }

        await bench.CheckInvariantsAsync(lines: 1);
    }

    [Fact]
    public async Task B07_Need_reply_without_the_feature_is_not_answered()
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        await using (RawFrontend frontend = await bench.NegotiatedAsync(replyAck: false))
        {
            await frontend.SendAsync((uint)VhostUserRequest.SetOwner, RawFrontend.NeedReply, default);
            await frontend.SendAsync((uint)VhostUserRequest.SetVringNum, RawFrontend.NeedReply, RawFrontend.State(0, 16));
            await frontend.BarrierAsync();
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    [Theory]
    [InlineData(VhostUserRequest.IotlbMsg, 32)]
    [InlineData(VhostUserRequest.PostcopyListen, 0)]
    [InlineData(VhostUserRequest.PostcopyEnd, 0)]
    public async Task B07_The_messages_on_which_it_is_always_set_are_always_answered(VhostUserRequest request, int size)
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        await using (RawFrontend frontend = await bench.NegotiatedAsync(replyAck: false))
        {
            (await frontend.AcknowledgementAsync((uint)request, new byte[size])).Should().NotBe(0);
            await frontend.BarrierAsync();
        }

        await bench.CheckInvariantsAsync(lines: 1);
    }

    [Fact]
    public async Task The_message_that_negotiates_acknowledgements_is_not_acknowledged()
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        await using (RawFrontend frontend = await bench.ConnectAsync())
        {
            byte[] payload = RawFrontend.U64((ulong)VhostUserProtocolFeatures.ReplyAck);
            await frontend.SendAsync((uint)VhostUserRequest.SetProtocolFeatures, RawFrontend.NeedReply, payload);
            await frontend.BarrierAsync();
            await frontend.AcceptedAsync(VhostUserRequest.SetProtocolFeatures, payload);
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    private static byte[] MessageBytes(uint request, VhostUserHeaderFlags flags, uint size, byte[] payload)
    {
        byte[] bytes = new byte[VhostUserHeader.EncodedSize + payload.Length];
        new VhostUserHeader(request, flags, size).Write(bytes);
        payload.CopyTo(bytes, VhostUserHeader.EncodedSize);
        return bytes;
    }

    private static async Task SendBytewiseAsync(
        RawFrontend frontend, VhostUserRequest request, byte[] payload, params System.Runtime.InteropServices.SafeHandle[] descriptors)
    {
        byte[] bytes = MessageBytes((uint)request, RawFrontend.Plain, (uint)payload.Length, payload);
        for (int i = 0; i < bytes.Length; i++)
            await frontend.Connection.SendRawAsync(bytes.AsMemory(i, 1), i == 0 ? descriptors : default);
    }
}
