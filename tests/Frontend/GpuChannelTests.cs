using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>A GPU that draws what it may not: the channel of the displays ends, the session does not.</summary>
[Collection(ProcessCounts.Name)]
public sealed class GpuChannelTests : CountedTests
{
    [Theory]
    [InlineData(VhostUserGpuRequest.GetProtocolFeatures, 0, 1)]
    [InlineData(VhostUserGpuRequest.CursorPos, 12, 1)]
    [InlineData(VhostUserGpuRequest.Scanout, 12, 1)]
    [InlineData(VhostUserGpuRequest.Update, 20, 1)]
    [InlineData(VhostUserGpuRequest.DmabufUpdate, 20, 1)]
    [InlineData(VhostUserGpuRequest.DmabufScanout, 40, 2)]
    [InlineData(VhostUserGpuRequest.DmabufScanout, 39, 1)]
    [InlineData(VhostUserGpuRequest.DmabufScanout2, 48, 2)]
    public async Task F09_drawings_with_wrong_descriptors_end_the_channel_and_are_closed(VhostUserGpuRequest request, int size, int descriptors)
    {
        using LogRecorder log = new();
        Displays displays = new();
        await using Dialogue dialogue = await Dialogue.StartAsync(options: new VhostUserFrontendOptions { LoggerFactory = log });
        using EventNotifier stray = new();
        for (int i = 0; i < 20; i++)
        {
            await using VhostUserConnection gpu = await ShowAsync(dialogue, displays);
            SafeHandle[] strays = [.. Enumerable.Repeat(stray.Descriptor, descriptors)];
            await gpu.SendAsync(new VhostUserHeader((uint)request, 0, (uint)size), new byte[size], strays);
            (await gpu.ReceiveAsync().InTime()).Should().BeNull("the front-end has closed it");
        }

        displays.Drawn.Should().Be(0);
        log.Entries.Count(entry => entry.Id == 2045).Should().Be(20);
        await dialogue.Session.ReadConfigAsync(0, new byte[4]);
    }

    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.GpuSetSocket)]
    public async Task F09_buffers_without_end_are_closed_as_they_come()
    {
        Displays displays = new();
        await using Dialogue dialogue = await Dialogue.StartAsync();
        await using VhostUserConnection gpu = await ShowAsync(dialogue, displays);
        using EventNotifier buffer = new();
        byte[] scanout = new byte[40];
        for (int i = 0; i < 100_000; i++)
            await gpu.SendAsync(new VhostUserHeader((uint)VhostUserGpuRequest.DmabufScanout, 0, 40), scanout, new SafeHandle[] { buffer.Descriptor });
        await gpu.SendAsync(new VhostUserHeader((uint)VhostUserGpuRequest.DmabufUpdate, 0, 20), new byte[20]);
        (await gpu.ReceiveAsync().InTime())!.Dispose();
        displays.Drawn.Should().Be(100_000);
    }

    [Fact]
    public async Task F09_a_payload_larger_than_any_frame_is_refused_before_there_is_memory_for_it()
    {
        using LogRecorder log = new();
        await using Dialogue dialogue = await Dialogue.StartAsync(options: new VhostUserFrontendOptions { LoggerFactory = log });
        await using VhostUserConnection gpu = await ShowAsync(dialogue, new Displays());
        long before = GC.GetTotalAllocatedBytes(precise: true);
        await gpu.SendRawAsync(HeaderOf((uint)VhostUserGpuRequest.Update, GpuContracts.MaxUpdate + 4));
        (await log.WhenAsync(2045)).Should().Contain("268435480");
        (GC.GetTotalAllocatedBytes(precise: true) - before).Should().BeLessThan(16 << 20);
    }

    [Theory]
    [InlineData((uint)VhostUserGpuRequest.CursorPos)]
    [InlineData((uint)VhostUserGpuRequest.CursorUpdate)]
    [InlineData(0xFFFFu)]
    public async Task F09_a_payload_larger_than_its_request_has_is_refused_before_there_is_memory_for_it(uint request)
    {
        using LogRecorder log = new();
        await using Dialogue dialogue = await Dialogue.StartAsync(options: new VhostUserFrontendOptions { LoggerFactory = log });
        await using VhostUserConnection gpu = await ShowAsync(dialogue, new Displays());
        long before = GC.GetTotalAllocatedBytes(precise: true);
        await gpu.SendRawAsync(HeaderOf(request, GpuContracts.MaxUpdate));
        (await log.WhenAsync(2045)).Should().Contain("268435476");
        (GC.GetTotalAllocatedBytes(precise: true) - before).Should().BeLessThan(16 << 20);
    }

    [Fact]
    public async Task F09_a_frame_that_is_announced_takes_memory_only_as_it_comes()
    {
        using LogRecorder log = new();
        await using Dialogue dialogue = await Dialogue.StartAsync(options: new VhostUserFrontendOptions { LoggerFactory = log });
        await using VhostUserConnection gpu = await ShowAsync(dialogue, new Displays());
        long before = GC.GetTotalAllocatedBytes(precise: true);
        await gpu.SendRawAsync((byte[])[.. HeaderOf((uint)VhostUserGpuRequest.Update, GpuContracts.MaxUpdate), .. new byte[1 << 20]]);
        gpu.Abort();
        (await log.WhenAsync(2045)).Should().Contain("closed the connection after 1048588 bytes");
        (GC.GetTotalAllocatedBytes(precise: true) - before).Should().BeLessThan(32 << 20);
    }

    [Fact]
    public async Task A_large_frame_comes_as_it_was_sent()
    {
        const int Width = 1000;
        const int Height = 800;
        Displays displays = new();
        await using Dialogue dialogue = await Dialogue.StartAsync();
        await using VhostUserConnection gpu = await ShowAsync(dialogue, displays);
        byte[] update = new byte[VhostUserGpuRectangle.Size + (Width * Height * 4)];
        new Random(1).NextBytes(update);
        new VhostUserGpuRectangle(0, 0, 0, Width, Height).Write(update);
        for (int i = 0; i < 2; i++)
            await gpu.SendAsync(new VhostUserHeader((uint)VhostUserGpuRequest.Update, 0, (uint)update.Length), update);
        await gpu.SendAsync(new VhostUserHeader((uint)VhostUserGpuRequest.DmabufUpdate, 0, 20), new byte[20]);
        (await gpu.ReceiveAsync().InTime())!.Dispose();
        displays.Drawn.Should().Be(2);
        displays.Pixels.AsSpan().SequenceEqual(update.AsSpan(VhostUserGpuRectangle.Size)).Should().BeTrue();
    }

    [Fact]
    public async Task An_update_of_another_size_than_its_pixels_is_told_with_both()
    {
        using LogRecorder log = new();
        await using Dialogue dialogue = await Dialogue.StartAsync(options: new VhostUserFrontendOptions { LoggerFactory = log });
        await using VhostUserConnection gpu = await ShowAsync(dialogue, new Displays());
        byte[] update = new byte[24];
        new VhostUserGpuRectangle(0, 0, 0, 2, 3).Write(update);
        await gpu.SendAsync(new VhostUserHeader((uint)VhostUserGpuRequest.Update, 0, 24), update);
        (await log.WhenAsync(2045)).Should().Contain("2 × 3 pixels").And.Contain("4 bytes came");
    }

    [Fact]
    public async Task The_displays_go_with_the_session_that_is_lost()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync();
        await using VhostUserConnection gpu = await ShowAsync(dialogue, new Displays());
        await SharingSteps.LoseAsync(dialogue);
        (await gpu.ReceiveAsync().InTime()).Should().BeNull("the front-end has closed it");
    }

    private static byte[] HeaderOf(uint request, uint size)
    {
        byte[] header = new byte[VhostUserHeader.EncodedSize];
        new VhostUserHeader(request, 0, size).Write(header);
        return header;
    }

    private static async Task<VhostUserConnection> ShowAsync(Dialogue dialogue, IGpuDisplays displays)
    {
        await dialogue.Session.ShowGpuAsync(displays);
        SafeFileHandle socket = dialogue.Backend.Last(VhostUserRequest.GpuSetSocket).Descriptors[0];
        VhostUserConnection gpu = VhostUserConnection.Adopt(Libc.Duplicate(socket));
        socket.Dispose(); // else it would not end with the connection
        return gpu;
    }

    /// <summary>Counts what is drawn.</summary>
    private sealed class Displays : IGpuDisplays
    {
        private int _drawn;

        public int Drawn => Volatile.Read(ref _drawn);

        public VhostUserGpuProtocolFeatures Features => VhostUserGpuProtocolFeatures.Dmabuf2;

        public IReadOnlyList<VhostUserGpuDisplay> GetDisplays() => [];

        public void SetScanout(VhostUserGpuScanout scanout) => Interlocked.Increment(ref _drawn);

        public byte[] Pixels { get; private set; } = [];

        public void Update(in VhostUserGpuUpdate update)
        {
            Pixels = update.Pixels.ToArray();
            Interlocked.Increment(ref _drawn);
        }

        public void MoveCursor(VhostUserGpuCursorPosition position, bool visible) => Interlocked.Increment(ref _drawn);

        public void SetDmabufScanout(VhostUserGpuDmabufScanout2 scanout, SafeFileHandle? buffer)
        {
            buffer?.Dispose();
            Interlocked.Increment(ref _drawn);
        }
    }
}
