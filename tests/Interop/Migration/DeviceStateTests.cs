using System.IO.Pipelines;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Migration;

/// <summary>The states of this library's own devices, moved by our front-end from one back-end to another.</summary>
public sealed class DeviceStateTests
{
    private static readonly VhostUserFrontendOptions _options = new() { RequiredProtocolFeatures = VhostUserProtocolFeatures.DeviceState };

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    [Shows(Counterpart.Loopback, VhostUserRequest.SetDeviceStateFd, VhostUserRequest.CheckDeviceState, VhostUserProtocolFeatures.DeviceState)]
    public async Task A_disk_keeps_the_write_cache_that_the_driver_has_chosen(bool writeCache)
    {
        using MemoryStorage storage = new(1 << 20);
        BlockDevice from = new(storage, new BlockDeviceOptions { WriteCache = !writeCache });
        BlockDevice to = new(storage, new BlockDeviceOptions { WriteCache = !writeCache });
        await using Pair source = await Pair.StartAsync(from);
        await source.Frontend.WriteConfigAsync(VirtioBlkConfig.WriteBackOffset, new[] { writeCache ? (byte)1 : (byte)0 });

        byte[] state = await MoveAsync(source, to);

        byte[] config = new byte[1];
        await using Pair destination = await Pair.StartAsync(to, state);
        await destination.Frontend.ReadConfigAsync(VirtioBlkConfig.WriteBackOffset, config);
        config[0].Should().Be(writeCache ? (byte)1 : (byte)0);
    }

    [Fact]
    public async Task A_disk_that_is_smaller_or_has_other_blocks_is_none_for_the_guest()
    {
        using MemoryStorage large = new(2 << 20);
        using MemoryStorage small = new(1 << 20);
        await using Pair source = await Pair.StartAsync(new BlockDevice(large));
        using MemoryStream state = new();
        await source.Frontend.SaveDeviceStateAsync(state);
        foreach (BlockDevice other in new[] { new BlockDevice(small), new BlockDevice(large, new BlockDeviceOptions { LogicalBlockSize = 4096 }) })
        {
            Func<Task> load = async () => await (await Pair.StartAsync(other, state.ToArray())).DisposeAsync();
            await load.Should().ThrowAsync<VhostUserRejectedException>();
        }
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_network_device_keeps_all_that_was_said_on_the_control_queue(bool featuresComeFirst)
    {
        MacAddress mac = MacAddress.Random();
        MacAddress[] others = [MacAddress.Random(), MacAddress.Random()];
        MacAddress[] groups = [new(0x0100_0000_0001)];
        NetDeviceOptions shape = new() { ControlQueue = true, QueuePairs = 4 };
        await using NetLoopback source = await NetLoopback.StartAsync(new NetClientOptions { ControlQueue = true, QueuePairs = 3 }, shape);
        NetControl control = source.Client.Control!;
        await control.SetReceiveModeAsync(NetReceiveModes.Promiscuous, on: false).InTime();
        await control.SetReceiveModeAsync(NetReceiveModes.AllMulticast, on: true).InTime();
        await control.SetMacTableAsync(others, groups).InTime();
        await control.SetMacAsync(mac).InTime();
        await control.AddVlanAsync(100).InTime();
        (await source.Device.RequestAnnouncementAsync(source.Backend)).Should().BeTrue();
        source.Device.TrySetMtu(1400).Should().BeTrue();

        NetDevice to = new(shape);
        byte[] state = await SaveAsync(source.Device);
        if (featuresComeFirst)
            to.Configure(source.Device.Acknowledged);
        await LoadAsync(to, state);
        to.Configure(source.Device.Acknowledged);

        to.ReceiveFilter.Should().BeEquivalentTo(source.Device.ReceiveFilter);
        (to.Mac, to.ActivePairs, to.Mtu, to.ReceiveFilter.AcceptsVlan(100), to.ReceiveFilter.AcceptsVlan(101)).Should().Be((mac, 3, 1400, true, false));
        byte[] status = new byte[2];
        to.TryReadConfig(6, status).Should().BeTrue();
        status[0].Should().Be(3, "the link is up, and the announcement is still due");

        to.Reset();
        (to.ReceiveFilter.Modes, to.ActivePairs, to.Mtu).Should().Be((NetReceiveModes.Promiscuous, 4, null));
        to.Configure(VirtioFeatures.None);
        to.Configure(source.Device.Acknowledged);
        to.ReceiveFilter.Modes.Should().Be(NetReceiveModes.Promiscuous, "after a reset nothing of another device is left");
    }

    [Fact]
    public async Task B34_A_state_without_VLANs_is_none_of_a_driver_that_chooses_them()
    {
        NetDeviceOptions shape = new() { ControlQueue = true };
        await using NetLoopback to = await NetLoopback.StartAsync(new NetClientOptions { ControlQueue = true }, shape);
        await LoadAsync(to.Device, await SaveAsync(new NetDevice(shape)));
        to.Device.ReceiveFilter.AcceptsVlan(5).Should().BeFalse();
        await to.Client.Control!.AddVlanAsync(5).InTime();
        to.Device.ReceiveFilter.AcceptsVlan(5).Should().BeTrue();
    }

    [Fact]
    public async Task A_disk_is_on_its_storage_when_its_state_is_saved_and_nothing_older_is_kept_when_it_is_loaded()
    {
        using WatchedStorage storage = new();
        BlockDevice device = new(storage);
        byte[] state = await SaveAsync(device);
        (storage.Flushes, storage.Forgotten).Should().Be((1, 0));
        await LoadAsync(device, state);
        (storage.Flushes, storage.Forgotten).Should().Be((1, 1));
        Func<Task> bad = () => LoadAsync(device, state[..^1]);
        await bad.Should().ThrowAsync<InvalidDataException>();
        storage.Forgotten.Should().Be(1);
    }

    [Fact]
    public async Task A_console_keeps_which_ports_the_driver_has_open_and_what_it_is_to_be_told()
    {
        ConsoleDeviceOptions shape = new() { Ports = [new(), new() { Name = "log" }] };
        await using ConsoleLoopback source = new(shape);
        await using ConsoleClient client = await source.ConnectAsync(new ConsoleClientOptions { Ports = 2 });
        await Eventually.TrueAsync(() => source.Device.Ports[1].IsGuestOpen);

        ConsoleDevice to = new(shape);
        byte[] state = await SaveAsync(source.Device);
        await LoadAsync(to, state);
        to.Configure((VirtioFeatures)(ulong)VirtioConsoleFeatures.MultiPort | VirtioFeatures.Version1);
        to.Ports.Select(port => port.IsGuestOpen).Should().Equal(source.Device.Ports.Select(port => port.IsGuestOpen));
        (await SaveAsync(to)).Should().Equal(state);
        to.Reset();
        to.Ports.Should().OnlyContain(port => !port.IsGuestOpen);
        Func<Task> other = () => LoadAsync(new ConsoleDevice(), state);
        (await other.Should().ThrowAsync<InvalidDataException>()).WithMessage("*ports is 2: must be 1*");
    }

    [Fact]
    public async Task B34_A_state_of_any_bytes_is_taken_whole_or_refused_in_one_way()
    {
        using MemoryStorage storage = new(1 << 20);
        IMigratableDevice[] devices = [new BlockDevice(storage), new NetDevice(new NetDeviceOptions { ControlQueue = true, QueuePairs = 2 }), new ConsoleDevice()];
        Random random = new(20_261_129);
        foreach (IMigratableDevice device in devices)
        {
            device.Configure(device.Features);
            byte[] state = await SaveAsync(device);
            await LoadAsync(device, state);
            for (int i = 0; i < 3000; i++)
            {
                byte[] bad = [.. state, .. new byte[random.Next(3) == 0 ? random.Next(20) : 0]];
                bad = bad[..(random.Next(3) == 0 ? random.Next(bad.Length + 1) : bad.Length)];
                for (int change = random.Next(4); change > 0 && bad.Length > 0; change--)
                    bad[random.Next(bad.Length)] = (byte)random.Next(256);
                byte[] before = await SaveAsync(device);
                try
                {
                    await LoadAsync(device, bad);
                }
                catch (InvalidDataException e)
                {
                    e.Message.Should().MatchRegex("^(device state|state of a)");
                    (await SaveAsync(device)).Should().Equal(before, "nothing of it was taken");
                }
            }

            await LoadAsync(device, state);
            (await SaveAsync(device)).Should().Equal(state);
        }
    }

    private static async Task<byte[]> MoveAsync(Pair source, IVhostUserDevice to)
    {
        using MemoryStream state = new();
        (await source.Frontend.SaveDeviceStateAsync(state).InTime()).Should().Be(state.Length);
        to.Should().BeAssignableTo<IMigratableDevice>();
        return state.ToArray();
    }

    private static async Task<byte[]> SaveAsync(IMigratableDevice device)
    {
        Pipe pipe = new();
        await device.SaveStateAsync(pipe.Writer, CancellationToken.None);
        await pipe.Writer.CompleteAsync();
        using MemoryStream bytes = new();
        await pipe.Reader.CopyToAsync(bytes);
        return bytes.ToArray();
    }

    private static async Task LoadAsync(IMigratableDevice device, byte[] state) =>
        await device.LoadStateAsync(PipeReader.Create(new MemoryStream(state)), CancellationToken.None);

    private sealed class WatchedStorage : IBlockStorage
    {
        private readonly MemoryStorage _memory = new(1 << 20);

        public int Flushes { get; private set; }

        public int Forgotten { get; private set; }

        public ulong Length => _memory.Length;

        public void Read(ulong offset, in GuestBuffers destination) => _memory.Read(offset, destination);

        public void Write(ulong offset, in GuestBuffers source) => _memory.Write(offset, source);

        public void Flush() => Flushes++;

        public void ForgetCache() => Forgotten++;

        public void Discard(ulong offset, ulong length) => _memory.Discard(offset, length);

        public void WriteZeroes(ulong offset, ulong length, bool mayUnmap) => _memory.WriteZeroes(offset, length, mayUnmap);

        public void Dispose() => _memory.Dispose();
    }

    private sealed class Pair(VhostUserBackend backend, Task serving, VhostUserFrontend frontend) : IAsyncDisposable
    {
        public VhostUserFrontend Frontend => frontend;

        public static async Task<Pair> StartAsync(IVhostUserDevice device, byte[]? state = null)
        {
            (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
            VhostUserBackend backend = new(device);
            Task serving = Task.Run(() => backend.ServeAsync(back));
            VhostUserFrontend frontend = await VhostUserFrontend.StartAsync(front, _options);
            Pair pair = new(backend, serving, frontend);
            try
            {
                if (state is not null)
                    await frontend.LoadDeviceStateAsync(new MemoryStream(state)).InTime();
                return pair;
            }
            catch
            {
                await pair.DisposeAsync();
                throw;
            }
        }

        public async ValueTask DisposeAsync()
        {
            await frontend.DisposeAsync();
            await serving.InTime();
            await backend.DisposeAsync();
        }
    }
}
