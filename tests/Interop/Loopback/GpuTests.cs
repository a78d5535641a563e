using Microsoft.Win32.SafeHandles;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Loopback;

/// <summary>A GPU that draws on the displays of its front-end.</summary>
public sealed class GpuTests
{
    [Fact]
    [Shows(Counterpart.Loopback, VhostUserRequest.GpuSetSocket)]
    public async Task Everything_that_is_drawn_reaches_the_displays_in_order()
    {
        Displays displays = new();
        await using Pair pair = await Pair.StartAsync(displays);
        VhostUserGpuChannel gpu = pair.Device.Channel!;
        (await gpu.GetProtocolFeaturesAsync()).Should().Be(displays.Features);
        await gpu.SetProtocolFeaturesAsync(VhostUserGpuProtocolFeatures.Edid);
        (await gpu.GetDisplayInfoAsync())[..2].Should().Equal(new VhostUserGpuDisplay(0, 0, 1024, 768, 1, 0), default);
        (await gpu.GetEdidAsync(5)).Should().Equal(5, 6, 7);
        await gpu.SetScanoutAsync(new VhostUserGpuScanout(1, 800, 600));
        await gpu.MoveCursorAsync(new VhostUserGpuCursorPosition(1, 2, 3));
        await gpu.MoveCursorAsync(new VhostUserGpuCursorPosition(1, 2, 3), visible: false);
        await gpu.UpdateCursorAsync(new VhostUserGpuCursorPosition(1, 4, 5), 6, 7, new byte[64 * 64 * 4]);
        await gpu.UpdateAsync(new VhostUserGpuRectangle(1, 0, 0, 2, 3), new byte[24]);
        using EventNotifier buffer = new();
        await gpu.SetDmabufScanoutAsync(new VhostUserGpuDmabufScanout(1, 0, 0, 2, 3, 2, 3, 8, 0, 0), buffer.Descriptor);
        await gpu.SetDmabufScanoutAsync(new VhostUserGpuDmabufScanout2(new VhostUserGpuDmabufScanout(2, 0, 0, 2, 3, 2, 3, 8, 0, 0), 77), buffer.Descriptor);
        await gpu.SetDmabufScanoutAsync(new VhostUserGpuDmabufScanout(1, 0, 0, 0, 0, 0, 0, 0, 0, 0), null);
        await gpu.UpdateDmabufAsync(new VhostUserGpuRectangle(1, 0, 0, 2, 3));

        displays.Seen.Should().Equal(
            "scanout 1 800x600", "cursor 1 2,3 True", "cursor 1 2,3 False", "image 1 4,5 hot 6,7", "update 1 2x3 24", "buffer 1 0 True", "buffer 2 77 True", "buffer 1 0 False", "flip 1");
    }

    [Fact]
    public async Task A_large_frame_goes_through_whole_and_a_larger_one_is_refused_here()
    {
        Displays displays = new();
        await using Pair pair = await Pair.StartAsync(displays);
        await pair.Device.Channel!.UpdateAsync(new VhostUserGpuRectangle(0, 0, 0, 3840, 2160), new byte[3840 * 2160 * 4]);
        await pair.Device.Channel.UpdateDmabufAsync(default);
        displays.Seen.Should().Equal("update 0 3840x2160 33177600", "flip 0");
        Func<Task> cursor = async () => await pair.Device.Channel.UpdateCursorAsync(default, 0, 0, new byte[VhostUserGpuCursorImage.PixelBytes - 4]);
        await cursor.Should().ThrowAsync<ArgumentException>();
        Func<Task> wrong = async () => await pair.Device.Channel.UpdateAsync(new VhostUserGpuRectangle(0, 0, 0, 2, 2), new byte[12]);
        await wrong.Should().ThrowAsync<ArgumentException>();
    }

    [Theory]
    [InlineData(0u, 0u, 0)]
    [InlineData(13u, 0u, 0)]
    [InlineData(7u, 0u, 11)]
    [InlineData(7u, 0u, 13)]
    [InlineData(7u, 4u, 12)]
    [InlineData(7u, 16u, 12)]
    [InlineData(2u, 0u, 8)]
    [InlineData(6u, 0u, 20)]
    [InlineData(8u, 0u, 24)]
    [InlineData(8u, 0u, 23)]
    [InlineData(12u, 0u, 48)]
    public async Task B35_Nonsense_ends_the_channel_alone(uint request, uint flags, int size)
    {
        LogRecorder log = new();
        Displays displays = new();
        await using Pair pair = await Pair.StartAsync(displays, log, raw: true);
        byte[] payload = new byte[size];
        Array.Fill(payload, (byte)0xff); // bits that are not offered; a rectangle of 2^32 columns
        await pair.Device.SendRawAsync(new VhostUserHeader(request, (VhostUserHeaderFlags)flags, (uint)size), payload);
        await log.WhenAsync(2045);
        displays.Seen.Should().BeEmpty();
        await pair.Frontend.Requests.GetFeaturesAsync();
        await pair.Frontend.ShowGpuAsync(displays); // and another one may follow
        await pair.Device.Channel!.UpdateDmabufAsync(default);
        displays.Seen.Should().Equal("flip 0");
    }

    [Fact]
    public async Task Displays_that_fail_end_the_channel_and_what_the_device_asks_then_says_so()
    {
        await using Pair pair = await Pair.StartAsync(new Displays { Throws = true });
        Func<Task> ask = async () => await pair.Device.Channel!.GetDisplayInfoAsync();
        await ask.Should().ThrowAsync<VhostUserDisconnectedException>();
        await pair.Frontend.Requests.GetFeaturesAsync();
    }

    [Fact]
    public async Task A_channel_that_is_given_again_replaces_the_one_before_and_all_end_with_the_session()
    {
        Displays displays = new();
        VhostUserGpuChannel last;
        await using (Pair pair = await Pair.StartAsync(displays))
        {
            VhostUserGpuChannel first = pair.Device.Channel!;
            for (int i = 0; i < 1000; i++)
                await pair.Frontend.ShowGpuAsync(displays);
            await first.Completion.InTime();
            last = pair.Device.Channel!;
            await last.UpdateDmabufAsync(default);
        }

        await last.Completion.ContinueWith(static _ => { }, TaskScheduler.Default).InTime();
    }

    [Fact]
    public async Task A_device_that_is_no_GPU_refuses()
    {
        await using SharingPair pair = await SharingPair.StartAsync(new());
        Func<Task> show = async () => await pair.Frontend.ShowGpuAsync(new Displays());
        await show.Should().ThrowAsync<VhostUserRejectedException>();
    }

    [Fact]
    public async Task B31_What_is_no_socket_is_refused_as_a_channel()
    {
        await using Pair pair = await Pair.StartAsync(new Displays());
        using EventNotifier notifier = new();
        Func<Task> set = async () => await pair.Frontend.Requests.GpuSetSocketAsync(notifier.Descriptor);
        await set.Should().ThrowAsync<VhostUserRejectedException>();
        await pair.Device.Channel!.UpdateDmabufAsync(default);
    }

    private sealed class Pair(VhostUserBackend backend, Gpu device, Task serving, VhostUserFrontend frontend) : IAsyncDisposable
    {
        public Gpu Device => device;

        public VhostUserFrontend Frontend => frontend;

        public static async Task<Pair> StartAsync(IGpuDisplays displays, LogRecorder? log = null, bool raw = false)
        {
            (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
            Gpu device = new() { KeepsSocket = raw };
            VhostUserBackend backend = new(device, new VhostUserBackendOptions { MessageHook = device });
            Task serving = Task.Run(() => backend.ServeAsync(back));
            VhostUserFrontend frontend = await VhostUserFrontend.StartAsync(front, new VhostUserFrontendOptions { LoggerFactory = log });
            await frontend.ShowGpuAsync(displays);
            return new Pair(backend, device, serving, frontend);
        }

        public async ValueTask DisposeAsync()
        {
            await frontend.DisposeAsync();
            await serving.InTime();
            await backend.DisposeAsync();
        }
    }

    /// <summary>Draws what a test tells it to, or keeps the socket to say what no GPU should.</summary>
    private sealed class Gpu : IGpuDevice, IVhostUserMessageHook
    {
        private SafeFileHandle? _socket;

        public bool KeepsSocket { get; set; }

        public VhostUserGpuChannel? Channel { get; private set; }

        public int QueueCount => 1;

        public VirtioFeatures Features => VirtioFeatures.Version1;

        public void UseDisplays(VhostUserGpuChannel channel) => Channel = channel;

        public void Process(DeviceVirtqueue queue)
        {
        }

        public MessageDecision Before(VhostUserMessage message, NegotiatedState state)
        {
            if (!KeepsSocket || message.Header.Request != (uint)VhostUserRequest.GpuSetSocket)
                return MessageDecision.NotHandled;
            _socket = message.TakeDescriptor(0);
            return MessageDecision.Done;
        }

        public async Task SendRawAsync(VhostUserHeader header, byte[]? payload)
        {
            await using VhostUserConnection connection = VhostUserConnection.Adopt(_socket!);
            await connection.SendAsync(header, payload);
            KeepsSocket = false;
        }
    }

    private sealed class Displays : IGpuDisplays
    {
        public List<string> Seen { get; } = [];

        public bool Throws { get; init; }

        public VhostUserGpuProtocolFeatures Features => VhostUserGpuProtocolFeatures.Edid | (Throws ? 0 : VhostUserGpuProtocolFeatures.Dmabuf2);

        public IReadOnlyList<VhostUserGpuDisplay> GetDisplays() => Throws ? throw new InvalidOperationException("of the application") : [new(0, 0, 1024, 768, 1, 0)];

        public ReadOnlyMemory<byte> GetEdid(uint scanout) => new byte[] { (byte)scanout, 6, 7 };

        public void MoveCursor(VhostUserGpuCursorPosition position, bool visible) => Seen.Add($"cursor {position.ScanoutId} {position.X},{position.Y} {visible}");

        public void UpdateCursor(in VhostUserGpuCursorImage image) => Seen.Add($"image {image.Position.ScanoutId} {image.Position.X},{image.Position.Y} hot {image.HotX},{image.HotY}");

        public void SetScanout(VhostUserGpuScanout scanout) => Seen.Add($"scanout {scanout.ScanoutId} {scanout.Width}x{scanout.Height}");

        public void Update(in VhostUserGpuUpdate update) => Seen.Add($"update {update.Rectangle.ScanoutId} {update.Rectangle.Width}x{update.Rectangle.Height} {update.Pixels.Length}");

        public void SetDmabufScanout(VhostUserGpuDmabufScanout2 scanout, SafeFileHandle? buffer)
        {
            Seen.Add($"buffer {scanout.Scanout.ScanoutId} {scanout.Modifier} {buffer is not null}");
            buffer?.Dispose();
        }

        public ValueTask UpdateDmabufAsync(VhostUserGpuRectangle rectangle, CancellationToken cancellationToken)
        {
            Seen.Add($"flip {rectangle.ScanoutId}");
            return ValueTask.CompletedTask;
        }
    }
}
