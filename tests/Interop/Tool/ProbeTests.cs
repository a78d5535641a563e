using System.Text.Json;
using Vhost.Backend;
using Vhost.Protocol;
using Vhost.Tests.Support;
using Vhost.Tool;

namespace Vhost.Interop.Tests.Tool;

/// <summary><c>vhost-user probe</c> says of every protocol feature how this library stands to it.</summary>
public sealed class ProbeTests
{
    [Fact]
    public async Task Every_protocol_feature_is_listed_as_offered_or_with_the_reason_why_not()
    {
        using TempFolder folder = new();
        string socket = folder.File("disk.sock");
        using MemoryStorage storage = new(1 << 20);
        await using VhostUserBackend backend = new(new BlockDevice(storage));
        using CancellationTokenSource stop = new();
        Task serving = backend.ListenAsync(socket, stop.Token);

        JsonElement probe = await ToolProcess.JsonAsync("probe", "--socket", socket);
        string text = (await ToolProcess.RunAsync("probe", "--socket", socket)).OutputText;

        ulong offered = 0;
        JsonElement[] bits = [.. probe.GetProperty("protocol_bits").EnumerateArray()];
        bits.Select(bit => bit.GetProperty("bit").GetInt32()).Should().Equal(Enumerable.Range(0, 24));
        foreach (JsonElement bit in bits)
        {
            offered |= bit.GetProperty("offered").GetBoolean() ? 1UL << bit.GetProperty("bit").GetInt32() : 0;
            bit.GetProperty("availability").GetString().Should().NotBeNullOrEmpty();
            text.Should().Contain(bit.GetProperty("name").GetString());
        }

        ((VhostUserProtocolFeatures)offered).Should().Be(backend.OfferedProtocolFeatures);
        text.Should().Contain("on request: QEMU acknowledges it").And.Contain("no: only a Xen host");
        await stop.CancelAsync();
        await serving.InTime();
    }

    [Fact]
    public void On_request_means_that_an_option_offers_it()
    {
        foreach (ProtocolBitReport bit in ProtocolBitReport.Of(default, default))
        {
            bool isOption = (OfferedBits.OnRequest & (VhostUserProtocolFeatures)(1UL << bit.Bit)) != 0;
            bit.Availability.StartsWith("on request", StringComparison.Ordinal).Should().Be(isOption, bit.Name);
        }
    }
}
