using System.Diagnostics.CodeAnalysis;
using Vhost.Frontend;
using Vhost.Interop.Tests.Guests;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.External;

/// <summary>What our front-end asks of DPDK's back-end beside packets: its dirty log, MTU and device status.</summary>
[SuppressMessage("Design", "CA1001", Justification = "xunit calls DisposeAsync.")]
public sealed class TestpmdMessageTests : IAsyncLifetime
{
    private const int PageSize = (int)DirtyLog.PageSize;

    private readonly TempFolder _folder = new();
    private Testpmd? _testpmd;
    private RawNetDriver? _driver;
    private Interposer? _between;

    public Task InitializeAsync() => Task.CompletedTask;

    public async Task DisposeAsync()
    {
        if (_driver is not null)
            await _driver.DisposeAsync();
        if (_between is not null)
            await _between.DisposeAsync();
        if (_testpmd is not null)
            await _testpmd.DisposeAsync();
        _folder.Dispose();
    }

    /// <summary>With packed rings what it writes of a ring is where the driver's descriptors are.</summary>
    [SkippableTheory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(VirtioFeatures.RingPacked)]
    public async Task Every_page_that_it_writes_is_in_its_dirty_log_and_no_other(VirtioFeatures ring)
    {
        RawNetDriver driver = await StartAsync(ring, VhostUserProtocolFeatures.LogShmFd);
        await driver.EchoAsync(1000, seed: 1);
        byte[] before = driver.CopyAll();

        await driver.Session.StartLoggingAsync();
        await driver.EchoAsync(1, seed: 2);
        HashSet<int> afterOne = TakePages(driver);
        await driver.EchoAsync(10_000, seed: 3);
        await driver.StopAsync();

        HashSet<int> logged = TakePages(driver);
        logged.UnionWith(afterOne);
        afterOne.Should().HaveCountLessThanOrEqualTo(4, "one packet is in one buffer, and each ring is told of it");
        ChangedPages(before, driver.CopyAll()).Where(IsWrittenByDevice).Should().BeSubsetOf(logged).And.HaveCountGreaterThan(100);
        logged.Should().OnlyContain(page => IsWrittenByDevice(page) || IsOfRings(page), "the pages from which it sends are the driver's");
        logged.Should().Contain((int)(driver.ReceiveRing.UsedRing.Value / DirtyLog.PageSize));
    }

    [SkippableFact]
    public async Task It_takes_the_MTU_that_it_is_told()
    {
        const ulong mtu = 1337;
        RawNetDriver driver = await StartAsync(
            (VirtioFeatures)(ulong)VirtioNetFeatures.Mtu, VhostUserProtocolFeatures.NetMtu, async session => await session.Requests.NetSetMtuAsync(mtu));

        await driver.EchoAsync(1000, seed: 1);

        (await _testpmd!.MtuAsync()).Should().Be((int)mtu);
    }

    [SkippableFact]
    public async Task It_keeps_the_status_that_the_guest_wrote()
    {
        const VirtioDeviceStatus running = VirtioDeviceStatus.Acknowledge | VirtioDeviceStatus.Driver | VirtioDeviceStatus.FeaturesOk | VirtioDeviceStatus.DriverOk;
        RawNetDriver driver = await StartAsync(VirtioFeatures.None, VhostUserProtocolFeatures.Status);
        await driver.EchoAsync(1000, seed: 1);
        (await driver.Session.GetStatusAsync()).Should().HaveFlag(VirtioDeviceStatus.FeaturesOk).And.HaveFlag(VirtioDeviceStatus.DriverOk);

        await driver.Session.SetStatusAsync(running);

        (await driver.Session.GetStatusAsync()).Should().Be(running);
        await driver.EchoAsync(1000, seed: 2);
    }

    /// <summary>What the support tables of README.md say of it.</summary>
    [SkippableFact]
    [Shows(
        Counterpart.Dpdk,
        VhostUserRequest.GetFeatures, VhostUserRequest.SetFeatures, VhostUserRequest.SetOwner, VhostUserRequest.SetVringNum, VhostUserRequest.SetVringAddr,
        VhostUserRequest.SetVringBase, VhostUserRequest.SetVringKick, VhostUserRequest.SetVringCall, VhostUserRequest.GetProtocolFeatures,
        VhostUserRequest.SetProtocolFeatures, VhostUserRequest.SetVringEnable, VhostUserRequest.SetMemTable, VhostUserRequest.SetLogBase,
        VhostUserRequest.GetVringBase, VhostUserRequest.GetQueueNum, VhostUserRequest.NetSetMtu, VhostUserRequest.SetBackendReqFd, VhostUserRequest.SetStatus,
        VhostUserRequest.GetStatus, VhostUserProtocolFeatures.MultiQueue, VhostUserProtocolFeatures.LogShmFd, VhostUserProtocolFeatures.ReplyAck,
        VhostUserProtocolFeatures.NetMtu, VhostUserProtocolFeatures.BackendReq, VhostUserProtocolFeatures.Status, VirtioFeatures.LogAll)]
    public async Task Everything_that_is_claimed_of_it_is_said_and_acknowledged()
    {
        const VhostUserProtocolFeatures required = VhostUserProtocolFeatures.LogShmFd | VhostUserProtocolFeatures.NetMtu | VhostUserProtocolFeatures.Status;
        RawNetDriver driver = await StartAsync(
            (VirtioFeatures)(ulong)VirtioNetFeatures.Mtu, required, async frontend => await frontend.Requests.NetSetMtuAsync(1500), isWatched: true);
        InterposedSession session = await _between!.SessionAsync();
        await driver.EchoAsync(100, seed: 1);
        await driver.Session.StartLoggingAsync();
        await driver.Session.SetStatusAsync(await driver.Session.GetStatusAsync());

        await driver.StopAsync();

        session.ShouldShow(Claims.OfTest<TestpmdMessageTests>());
    }

    /// <summary>Once it does, what it notes there is to be tested against our driver's rings.</summary>
    [SkippableFact]
    public async Task It_offers_no_in_flight_region()
    {
        RawNetDriver driver = await StartAsync(VirtioFeatures.None, VhostUserProtocolFeatures.None);

        driver.Session.OfferedProtocolFeatures.Should().NotHaveFlag(VhostUserProtocolFeatures.InflightShmFd);

        await driver.Session.Awaiting(session => session.CreateInflightRegionAsync(2, RawNetDriver.Entries).AsTask()).Should().ThrowAsync<VhostUserFeatureException>();
        await driver.EchoAsync(100, seed: 1);
    }

    /// <param name="features">What the driver acknowledges beside VERSION_1.</param>
    /// <param name="required">What the session needs.</param>
    /// <param name="beforeRings">What is said before rings start.</param>
    /// <param name="isWatched">Whether somebody between both notes what is said.</param>
    private async Task<RawNetDriver> StartAsync(
        VirtioFeatures features, VhostUserProtocolFeatures required, Func<VhostUserFrontend, Task>? beforeRings = null, bool isWatched = false)
    {
        Peers.Require(TestpmdCommand.Program, TestpmdCommand.Package);
        string socket = _folder.File("s");
        _testpmd = await Testpmd.StartAsync(new TestpmdCommand
        {
            Role = TestpmdRole.Backend,
            SocketPath = socket,
            ForwardMode = "io",
            Listens = true,
            Processor = Math.Min(1, Environment.ProcessorCount - 1),
            Name = Path.GetFileName(_folder.Path),
        });
        _driver = new RawNetDriver(features);
        _between = isWatched ? new Interposer(_folder.File("between"), socket) : null;
        await _driver.StartAsync(_between?.Socket ?? socket, required, beforeRings);
        return _driver;
    }

    private static HashSet<int> TakePages(RawNetDriver driver)
    {
        ulong[] words = new ulong[RawNetDriver.MemorySize / PageSize / 64];
        driver.Session.TakeDirty(default, RawNetDriver.MemorySize, words);
        return [.. Enumerable.Range(0, words.Length * 64).Where(page => (words[page / 64] >> (page % 64) & 1) != 0)];
    }

    private static IEnumerable<int> ChangedPages(byte[] before, byte[] after) => Enumerable.Range(0, before.Length / PageSize)
        .Where(page => !before.AsSpan(page * PageSize, PageSize).SequenceEqual(after.AsSpan(page * PageSize, PageSize)));

    private static bool IsWrittenByDevice(int page) => page >= RawNetDriver.FirstReceivedPage;

    private static bool IsOfRings(int page) => page < RawNetDriver.FirstSentPage;
}
