using System.Buffers.Binary;
using System.Globalization;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>
/// A disk whose back-end is killed again and again (SIGKILL) while 32 writes are always under way. The front-end keeps ring, memory and in-flight region and gives them to the
/// next back-end: every write ends, once, and is in the image. More kills: VHOST_TEST_KILLS.
/// </summary>
public sealed class KilledBackendTests : IDisposable
{
    private const int Depth = 32;
    private const int Sectors = 512;
    private const ushort Entries = 128;
    private const ulong Headers = 0x2_0000;
    private const ulong Statuses = 0x3_0000;
    private const ulong Data = 0x4_0000;

    private readonly TempFolder _folder = new();
    private readonly GuestMemory _memory = GuestRam.Create(1 << 20);
    private readonly GuestMemoryLease _lease;
    private readonly EventNotifier _kick = new();
    private readonly EventNotifier _call = new();
    private readonly Random _random = new(1);

    /// <summary>For each sector the number that was written last, and for each slot its sector; null when it is free.</summary>
    private readonly ulong[] _written = new ulong[Sectors];
    private readonly int?[] _sectorOf = new int?[Depth];
    private readonly ulong[] _numberOf = new ulong[Depth];
    private ulong _number;
    private int _done;

    public KilledBackendTests() => _lease = _memory.Acquire();

    private static int Kills => int.Parse(Environment.GetEnvironmentVariable("VHOST_TEST_KILLS") ?? "10", CultureInfo.InvariantCulture);

    public void Dispose()
    {
        _lease.Dispose();
        _memory.Dispose();
        _kick.Dispose();
        _call.Dispose();
        _folder.Dispose();
    }

    [Theory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(VirtioFeatures.RingPacked)]
    public async Task Every_write_ends_once_and_is_in_the_image(VirtioFeatures ring)
    {
        string image = _folder.Image("i", Sectors * 512);
        VirtioFeatures features = ring | VirtioFeatures.Version1;
        using DriverVirtqueue driver = DriverVirtqueue.Create(_memory, default, new DriverVirtqueueOptions { Size = Entries }, features);
        InflightRegion? region = null;
        HashSet<string> regions = new(StringComparer.Ordinal);
        try
        {
            for (int life = 0; life <= Kills; life++)
            {
                await using ChildProcess server = await ToolProcess.ServeAsync("--socket-path", _folder.File("s"), "--image", image, "--num-queues", "1", "--log-level", "debug");
                await using VhostUserFrontend session = await ConnectAsync(features);
                region ??= await session.CreateInflightRegionAsync(1, Entries);
                await session.UseInflightRegionAsync(region!);
                await session.StartVringAsync(driver.Describe(0, _kick, _call));
                int until = _done + _random.Next(200, 2000);
                while (_done < until)
                    Turn(driver, submits: true);
                if (life == Kills)
                    Finish(driver);
                regions.Add(await server.ErrorLineAsync("in-flight area"));
                server.Signal(UnixSignal.Kill);
                await server.EndAsync();
            }
        }
        finally
        {
            region?.Dispose();
        }

        regions.Select(line => line[line.IndexOf("in-flight area", StringComparison.Ordinal)..]).Distinct(StringComparer.Ordinal).Should().ContainSingle("it is the same region that comes back each time");
        byte[] disk = await File.ReadAllBytesAsync(image);
        for (int sector = 0; sector < Sectors; sector++)
            BinaryPrimitives.ReadUInt64LittleEndian(disk.AsSpan(sector * 512)).Should().Be(_written[sector], "of sector {0}", sector);
    }

    private async Task<VhostUserFrontend> ConnectAsync(VirtioFeatures features)
    {
        VhostUserFrontend session = await VhostUserFrontend.ConnectAsync(_folder.File("s"), new VhostUserFrontendOptions
        {
            RequiredProtocolFeatures = VhostUserProtocolFeatures.InflightShmFd,
            Connect = new VhostUserConnectOptions { RetryFor = Eventually.Deadline },
        }).InTime();
        await session.SetFeaturesAsync(features | VirtioFeatures.VhostUserProtocolFeatures);
        await session.SetMemoryAsync(_memory);
        return session;
    }

    private void Finish(DriverVirtqueue driver) =>
        SpinWait.SpinUntil(() => !Turn(driver, submits: false) && driver.InFlight == 0, Eventually.Deadline).Should().BeTrue();

    /// <summary>Collects what has ended and, while there are free slots, writes something else.</summary>
    private bool Turn(DriverVirtqueue driver, bool submits)
    {
        DriverCompletion[] ended = new DriverCompletion[Depth];
        int count = driver.Drain(ended);
        foreach (DriverCompletion one in ended.AsSpan(0, count))
            End((int)one.Token);
        for (int slot = 0; submits && slot < Depth; slot++)
        {
            if (_sectorOf[slot] is null)
                Submit(driver, slot);
        }

        if (driver.Publish())
            _kick.Signal();
        return count > 0;
    }

    private void End(int slot)
    {
        int sector = _sectorOf[slot] ?? throw new InvalidOperationException($"Slot {slot} ended twice.");
        _lease.TryRead(new GuestAddress(Statuses + (ulong)slot), out byte status).Should().BeTrue();
        status.Should().Be(0);
        _written[sector] = _numberOf[slot];
        _sectorOf[slot] = null;
        _done++;
    }

    private void Submit(DriverVirtqueue driver, int slot)
    {
        int sector = _random.Next(Sectors);
        if (_sectorOf.Contains(sector))
            return; // two writes of one sector at the same time may end in any order
        GuestAddress header = new(Headers + (64 * (ulong)slot));
        GuestAddress data = new(Data + (4096 * (ulong)slot));
        GuestAddress status = new(Statuses + (ulong)slot);
        byte[] bytes = new byte[VirtioBlkRequestHeader.Size];
        new VirtioBlkRequestHeader(VirtioBlkRequestType.Out, 0, (ulong)sector).Write(bytes);
        _lease.TryCopyFrom(bytes, header).Should().BeTrue();
        _lease.TryWrite(data, ++_number).Should().BeTrue();
        _lease.TryWrite(status, (byte)0xFF).Should().BeTrue();
        driver.TrySubmit([new GuestBuffer(header, VirtioBlkRequestHeader.Size), new GuestBuffer(data, 512)], [new GuestBuffer(status, 1)], (ulong)slot).Should().BeTrue();
        (_sectorOf[slot], _numberOf[slot]) = (sector, _number);
    }
}
