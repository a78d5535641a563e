using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

/// <summary>A display that answers a GPU wrongly: the channel of the displays ends, the session does not.</summary>
[Collection(ProcessCounts.Name)]
public sealed class GpuChannelTests : IAsyncLifetime
{
    private readonly FakeTimeProvider _clock = new();
    private readonly ProcessCounts _before = ProcessCounts.Snapshot();
    private readonly Gpu _device = new();
    private SessionBench? _bench;
    private VhostUserConnection? _displays;

    private VhostUserGpuChannel Channel => _device.Channel!;

    [Theory]
    [InlineData(VhostUserGpuRequest.GetProtocolFeatures, 7, 0)]
    [InlineData(VhostUserGpuRequest.GetProtocolFeatures, 9, 0)]
    [InlineData(VhostUserGpuRequest.GetProtocolFeatures, 8, 1)]
    [InlineData(VhostUserGpuRequest.GetDisplayInfo, 0, 0)]
    [InlineData(VhostUserGpuRequest.GetDisplayInfo, VhostUserGpuDisplayInfo.Size - 1, 0)]
    [InlineData(VhostUserGpuRequest.GetDisplayInfo, VhostUserGpuDisplayInfo.Size + 1, 0)]
    [InlineData(VhostUserGpuRequest.GetDisplayInfo, VhostUserGpuDisplayInfo.Size, 2)]
    [InlineData(VhostUserGpuRequest.GetEdid, VhostUserGpuEdid.Size - 1, 0)]
    [InlineData(VhostUserGpuRequest.DmabufUpdate, 1, 0)]
    [InlineData(VhostUserGpuRequest.DmabufUpdate, 0, 1)]
    [InlineData(VhostUserGpuRequest.Scanout, 0, 0)] // an answer to something else
    public async Task F01_An_answer_of_another_shape_ends_the_channel_and_its_descriptors_are_closed(VhostUserGpuRequest answer, int size, int descriptors)
    {
        await StartAsync();
        Task asked = Ask(answer);
        (await _displays!.ReceiveAsync().InTime())!.Dispose();
        using EventNotifier stray = new();
        SafeHandle[] strays = [.. Enumerable.Repeat(stray.Descriptor, descriptors)];
        await _displays.SendAsync(new VhostUserHeader((uint)answer, VhostUserHeaderFlags.Reply, (uint)size), new byte[size], strays);
        await asked.Awaiting(task => task.InTime()).Should().ThrowAsync<VhostUserProtocolException>();
        await ExpectLostAsync();
    }

    [Fact]
    public async Task An_EDID_that_is_longer_than_its_place_is_no_EDID()
    {
        await StartAsync();
        Task asked = Ask(VhostUserGpuRequest.GetEdid);
        (await _displays!.ReceiveAsync().InTime())!.Dispose();
        byte[] edid = new byte[VhostUserGpuEdid.Size];
        BitConverter.TryWriteBytes(edid.AsSpan(24), uint.MaxValue);
        await _displays.SendAsync(new VhostUserHeader((uint)VhostUserGpuRequest.GetEdid, VhostUserHeaderFlags.Reply, (uint)edid.Length), edid);
        await asked.Awaiting(task => task.InTime()).Should().ThrowAsync<VhostUserProtocolException>();
        await _bench!.Frontend.BarrierAsync();
    }

    [Fact]
    public async Task F02_An_answer_that_nobody_asked_for_ends_the_channel()
    {
        await StartAsync();
        await _displays!.SendAsync(new VhostUserHeader((uint)VhostUserGpuRequest.GetProtocolFeatures, VhostUserHeaderFlags.Reply, 8), new byte[8]);
        await Channel.Completion.Awaiting(task => task.InTime()).Should().ThrowAsync<VhostUserProtocolException>();
        await ExpectLostAsync();
    }

    [Fact]
    public async Task F16_Displays_that_do_not_answer_end_the_channel_in_time()
    {
        await StartAsync();
        Task asked = Ask(VhostUserGpuRequest.DmabufUpdate);
        (await _displays!.ReceiveAsync().InTime())!.Dispose();
        await _clock.TimersAsync();
        _clock.Advance(TimeSpan.FromSeconds(10));
        await asked.Awaiting(task => task.InTime()).Should().ThrowAsync<VhostUserTimeoutException>();
        await ExpectLostAsync();
    }

    [Fact]
    public async Task F16_Displays_that_do_not_read_end_the_channel_in_time()
    {
        await StartAsync();
        Task sending;
        do
            sending = Channel.SetScanoutAsync(new VhostUserGpuScanout(0, 1, 1)).AsTask();
        while (sending.IsCompletedSuccessfully);
        await _clock.TimersAsync();
        _clock.Advance(TimeSpan.FromMinutes(1));
        await sending.Awaiting(task => task.InTime()).Should().ThrowAsync<VhostUserTimeoutException>();
        await _bench!.Frontend.BarrierAsync();
    }

    [Fact]
    public async Task A_channel_that_the_device_does_not_take_leaves_it_the_one_before()
    {
        await StartAsync();
        _device.Throws = true;
        (SafeFileHandle ours, SafeFileHandle theirs) = Libc.UnixSocketPair();
        using (theirs)
            await _bench!.Frontend.RefusedAsync(VhostUserRequest.GpuSetSocket, default, theirs);
        await using (VhostUserConnection second = VhostUserConnection.Adopt(ours))
            (await second.ReceiveAsync().InTime()).Should().BeNull("it is closed");

        await Channel.SetScanoutAsync(new VhostUserGpuScanout(0, 1, 1)).InTime();
        using (VhostUserMessage? drawn = await _displays!.ReceiveAsync().InTime())
            drawn!.Header.Request.Should().Be((uint)VhostUserGpuRequest.Scanout);

        _device.Throws = false;
        (ours, theirs) = Libc.UnixSocketPair();
        using (theirs)
            await _bench.Frontend.AcceptedAsync(VhostUserRequest.GpuSetSocket, default, theirs);
        ours.Dispose();
        (await _displays.ReceiveAsync().InTime()).Should().BeNull("the next one takes its place");
    }

    public Task InitializeAsync() => Task.CompletedTask;

    public async Task DisposeAsync()
    {
        if (_displays is not null)
            await _displays.DisposeAsync();
        if (_bench is not null)
            await _bench.DisposeAsync();
        _before.AssertBack();
    }

    private async Task StartAsync()
    {
        _bench = await SessionBench.StartAsync(_device, new VhostUserBackendOptions { TimeProvider = _clock });
        (SafeFileHandle ours, SafeFileHandle theirs) = Libc.UnixSocketPair();
        using (theirs)
            await _bench.Frontend.AcceptedAsync(VhostUserRequest.GpuSetSocket, default, theirs);
        _displays = VhostUserConnection.Adopt(ours);
    }

    /// <summary>Asks what is answered; of what is not answered, for the displays.</summary>
    private Task Ask(VhostUserGpuRequest request) => request switch
    {
        VhostUserGpuRequest.GetProtocolFeatures => Channel.GetProtocolFeaturesAsync().AsTask(),
        VhostUserGpuRequest.GetEdid => Channel.GetEdidAsync(0).AsTask(),
        VhostUserGpuRequest.DmabufUpdate => Channel.UpdateDmabufAsync(default).AsTask(),
        _ => Channel.GetDisplayInfoAsync().AsTask(),
    };

    private async Task ExpectLostAsync()
    {
        (await _displays!.ReceiveAsync().InTime()).Should().BeNull("the back-end has closed it");
        Func<Task> again = async () => await Channel.GetDisplayInfoAsync().InTime();
        await again.Should().ThrowAsync<VhostUserDisconnectedException>();
        await _bench!.Frontend.BarrierAsync();
    }

    private sealed class Gpu : IGpuDevice
    {
        public VhostUserGpuChannel? Channel { get; private set; }

        public int QueueCount => 1;

        public VirtioFeatures Features => VirtioFeatures.Version1;

        public bool Throws { get; set; }

        public void UseDisplays(VhostUserGpuChannel channel) => Channel = Throws ? throw new InvalidOperationException("the test device was told to fail") : channel;

        public void Process(DeviceVirtqueue queue)
        {
        }
    }
}
