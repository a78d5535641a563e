using System.Diagnostics.Metrics;
using System.Text.RegularExpressions;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Documentation;

/// <summary>The table of instruments in docs/hosting.md is what a listener finds, and the figures are those of the devices.</summary>
public sealed partial class MeterDocumentTests
{
    private readonly string _name = $"meter {Guid.NewGuid()}";

    [Fact]
    public async Task The_document_has_every_instrument_with_its_unit_and_no_other()
    {
        await using VhostUserBackend backend = new(new NetDevice());
        using NetSwitch net = new(new NetSwitchOptions { Ports = [new NetSwitchPortOptions()] });
        Dictionary<string, string?> instruments = new(StringComparer.Ordinal);
        using MeterListener listener = new()
        {
            InstrumentPublished = (instrument, _) =>
            {
                if (instrument.Meter.Name == VhostUserBackend.MeterName)
                    instruments[instrument.Name] = instrument.Unit;
            },
        };
        listener.Start();

        Row().Matches(await File.ReadAllTextAsync(RepositoryRoot.File("docs", "hosting.md"))).ToDictionary(row => row.Groups["name"].Value, row => (string?)row.Groups["unit"].Value, StringComparer.Ordinal)
            .Should().BeEquivalentTo(instruments);
    }

    [Fact]
    public async Task Requests_of_a_disk_are_measured_with_those_that_failed()
    {
        using MemoryStorage storage = new(1 << 20);
        await using VhostUserBackend backend = new(new BlockDevice(storage), new VhostUserBackendOptions { Name = _name });
        (VhostUserConnection ours, VhostUserConnection theirs) = VhostUserConnection.CreatePair();
        Task serving = backend.ServeAsync(theirs);
        await using (BlockClient disk = await BlockClient.StartAsync(ours))
        {
            await disk.WriteAsync(0, new byte[4096]).InTime();
            await disk.ReadAsync(0, new byte[4096]).InTime();
        }

        await serving.InTime();

        Dictionary<string, long> seen = Measure();
        seen["vhost.block.requests"].Should().BeGreaterThanOrEqualTo(2);
        seen.Should().Contain("vhost.block.errors failed", 0).And.Contain("vhost.block.errors dropped", 0);
    }

    [Fact]
    public async Task Packets_of_a_network_card_are_measured_in_each_direction()
    {
        NetDevice device = new();
        await using VhostUserBackend backend = new(device, new VhostUserBackendOptions { Name = _name });
        (VhostUserConnection ours, VhostUserConnection theirs) = VhostUserConnection.CreatePair();
        Task serving = backend.ServeAsync(theirs);
        PacketBuffer[] packets = new PacketBuffer[4];
        new PacketPool(8).RentBurst(packets);
        foreach (PacketBuffer packet in packets)
            packet.Append(60).Fill(7);
        await using (NetClient net = await NetClient.StartAsync(ours))
        {
            net.Senders[0].SendBurst(packets).Should().Be(4);
            int taken = 0;
            await Eventually.TrueAsync(() => (taken += device.Ports[0].DequeueBurst(packets)) == 4);
            device.Ports[0].EnqueueBurst(packets.AsSpan(0, 3)).Should().Be(3);
        }

        await serving.InTime();

        Measure().Should().Contain("vhost.net.packets 0 from_guest", 4).And.Contain("vhost.net.bytes 0 from_guest", 240)
            .And.Contain("vhost.net.packets 0 to_guest", 3).And.Contain("vhost.net.bytes 0 to_guest", 180)
            .And.Contain("vhost.net.dropped 0 from_guest error", 0).And.Contain("vhost.net.dropped 0 from_guest no_buffers", 0).And.Contain("vhost.net.dropped 0 to_guest refused", 0);
    }

    /// <summary>What the back-end of this test has counted, by instrument and further tags.</summary>
    private Dictionary<string, long> Measure()
    {
        Dictionary<string, long> seen = new(StringComparer.Ordinal);
        using MeterListener listener = new()
        {
            InstrumentPublished = static (instrument, self) =>
            {
                if (instrument.Meter.Name == VhostUserBackend.MeterName)
                    self.EnableMeasurementEvents(instrument);
            },
        };
        listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) =>
        {
            KeyValuePair<string, object?>[] all = tags.ToArray();
            if (all.Contains(new("backend", _name)))
                seen[string.Join(' ', [instrument.Name, .. all.Where(static tag => tag.Key != "backend").Select(static tag => $"{tag.Value}")])] = value;
        });
        listener.Start();
        listener.RecordObservableInstruments();
        return seen;
    }

    [GeneratedRegex(@"^\| `(?<name>vhost\.[a-z._]+)` \| `(?<unit>[^`]+)` \| ", RegexOptions.Multiline | RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex Row();
}
