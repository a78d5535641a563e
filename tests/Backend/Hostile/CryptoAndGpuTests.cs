using Microsoft.Extensions.Logging;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

/// <summary>Crypto sessions and sockets of displays, from front-ends that get their messages wrong.</summary>
[Collection(ProcessCounts.Name)]
public class CryptoAndGpuTests
{
    [Theory]
    [InlineData(VhostUserRequest.CreateCryptoSession, 0, false)]
    [InlineData(VhostUserRequest.CreateCryptoSession, 631, false)]
    [InlineData(VhostUserRequest.CreateCryptoSession, 633, false)]
    [InlineData(VhostUserRequest.CreateCryptoSession, 1071, false)]
    [InlineData(VhostUserRequest.CreateCryptoSession, 1073, false)]
    [InlineData(VhostUserRequest.CreateCryptoSession, 632, true)]
    [InlineData(VhostUserRequest.CloseCryptoSession, 7, false)]
    [InlineData(VhostUserRequest.CloseCryptoSession, 9, false)]
    [InlineData(VhostUserRequest.CloseCryptoSession, 8, false)] // none was created
    [InlineData(VhostUserRequest.CloseCryptoSession, 8, true)]
    [InlineData(VhostUserRequest.GpuSetSocket, 0, false)]
    [InlineData(VhostUserRequest.GpuSetSocket, 0, true)] // an eventfd
    [InlineData(VhostUserRequest.GpuSetSocket, 8, true)]
    public async Task B35_Messages_of_another_shape_are_refused_and_the_device_hears_nothing(VhostUserRequest request, int size, bool withDescriptor)
    {
        using EventNotifier stray = new();
        BusyDevice device = new();
        await using SessionBench bench = await SessionBench.StartAsync(device);
        await bench.Frontend.SendAsync((uint)request, RawFrontend.NeedReply, new byte[size], withDescriptor ? [stray.Descriptor] : []);
        await bench.Frontend.ExpectRefusedOrClosedAsync(request);
        device.Heard.Should().Be(0);
    }

    [Theory]
    [InlineData(VhostUserRequest.CreateCryptoSession, 632)]
    [InlineData(VhostUserRequest.CreateCryptoSession, 1072)]
    [InlineData(VhostUserRequest.CloseCryptoSession, 8)]
    public async Task Of_another_device_no_sessions_are_asked(VhostUserRequest request, int size)
    {
        await using SessionBench bench = await SessionBench.StartAsync();
        await bench.Frontend.SendAsync((uint)request, RawFrontend.NeedReply, new byte[size]);
        await bench.Frontend.ExpectRefusedOrClosedAsync(request);
    }

    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.CreateCryptoSession, VhostUserRequest.CloseCryptoSession, VhostUserRequest.GpuSetSocket, VhostUserProtocolFeatures.CryptoSession)]
    public async Task B35_Sessions_and_sockets_without_end_leave_nothing_behind()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        BusyDevice device = new();
        await using (SessionBench bench = await SessionBench.StartAsync(device))
        {
            byte[] session = new byte[VhostUserCryptoSession.WideSize];
            for (int i = 0; i < 10_000; i++)
            {
                VhostUserCryptoSession.TryReadSessionId(await bench.Frontend.AskAsync(VhostUserRequest.CreateCryptoSession, session), out long id);
                await bench.Frontend.AcceptedAsync(VhostUserRequest.CloseCryptoSession, RawFrontend.U64((ulong)id));
            }

            for (int i = 0; i < 10_000; i++)
            {
                (Microsoft.Win32.SafeHandles.SafeFileHandle ours, Microsoft.Win32.SafeHandles.SafeFileHandle theirs) = Libc.UnixSocketPair();
                using (ours)
                using (theirs)
                    await bench.Frontend.AcceptedAsync(VhostUserRequest.GpuSetSocket, default, theirs);
            }
        }

        device.Heard.Should().Be(30_000);
        before.AssertBack();
    }

    [Fact]
    public async Task What_the_device_fails_to_close_is_refused_and_the_log_says_why()
    {
        using LogRecorder log = new();
        BusyDevice device = new() { FailsToClose = true };
        await using SessionBench bench = await SessionBench.StartAsync(device, new VhostUserBackendOptions { LoggerFactory = log });
        long[] ids = new long[2];
        for (int i = 0; i < ids.Length; i++)
            VhostUserCryptoSession.TryReadSessionId(await bench.Frontend.AskAsync(VhostUserRequest.CreateCryptoSession, new byte[VhostUserCryptoSession.WideSize]), out ids[i]);
        await bench.Frontend.RefusedAsync(VhostUserRequest.CloseCryptoSession, RawFrontend.U64((ulong)ids[0]));
        log.Entries.Should().Contain(entry => entry.Level == LogLevel.Warning && entry.Text.Contains($"session {ids[0]}") && entry.Text.Contains("told to fail"));
        await bench.Frontend.DisposeAsync();
        await bench.Served.InTime();
        log.Entries.Should().Contain(entry => entry.Level == LogLevel.Warning && entry.Text.Contains($"session {ids[1]}") && entry.Text.Contains("told to fail"));
    }

    [Theory]
    [InlineData(VhostUserCryptoSession.NarrowSize, 12, 65u, "cipher key of 65 bytes; 64 at most")]
    [InlineData(VhostUserCryptoSession.NarrowSize, 24, 513u, "authentication key of 513 bytes; 512 at most")]
    [InlineData(VhostUserCryptoSession.WideSize, -16, 1025u, "a key of 1025 bytes; 1024 at most")]
    public async Task B35_A_key_that_is_too_long_is_told_with_its_length(int size, int at, uint length, string expected)
    {
        using LogRecorder log = new();
        await using SessionBench bench = await SessionBench.StartAsync(new BusyDevice(), new VhostUserBackendOptions { LoggerFactory = log });
        byte[] payload = new byte[size];
        if (at < 0)
            BitConverter.TryWriteBytes(payload, VhostUserAsymmetricSession.CreateOperation);
        BitConverter.TryWriteBytes(payload.AsSpan(Math.Abs(at)), length);
        await bench.Frontend.AskAsync(VhostUserRequest.CreateCryptoSession, payload);
        log.Lines.Should().Contain(line => line.Contains(expected));
    }

    [Fact]
    public async Task What_a_device_says_of_itself_is_asked_once_and_checked_then()
    {
        BusyDevice device = new();
        await using SessionBench bench = await SessionBench.StartAsync(device);
        device.FailsToTell = true;
        for (int i = 0; i < 2; i++)
        {
            byte[] payload = new byte[VhostUserCryptoSession.NarrowSize];
            VhostUserCryptoSession.TryReadSessionId(await bench.Frontend.AskAsync(VhostUserRequest.CreateCryptoSession, payload), out long id);
            id.Should().BePositive();
        }

        Action wide = () => _ = new VhostUserBackend(new BusyDevice { NarrowLayout = VhostUserCryptoLayout.Wide });
        wide.Should().Throw<ArgumentOutOfRangeException>().WithMessage("*NarrowLayout is Wide*WithOperation or WithoutOperation*");
    }

    /// <summary>Counts what it is told.</summary>
    private sealed class BusyDevice : ICryptoSessionDevice, IGpuDevice
    {
        private readonly EchoDevice _echo = new();
        private readonly VhostUserCryptoLayout _layout = VhostUserCryptoLayout.WithoutOperation;

        public int Heard { get; private set; }

        public bool FailsToClose { get; init; }

        public bool FailsToTell { get; set; }

        public int MostSessions => FailsToTell ? throw new InvalidOperationException("the test device was told to fail") : 16;

        public VhostUserCryptoLayout NarrowLayout
        {
            get => FailsToTell ? throw new InvalidOperationException("the test device was told to fail") : _layout;
            init => _layout = value;
        }

        public int QueueCount => 2;

        public VirtioFeatures Features => _echo.Features;

        public bool TryCreateSession(ulong id, in VhostUserCryptoSession session)
        {
            Heard++;
            return true;
        }

        public void CloseSession(ulong id)
        {
            Heard++;
            if (FailsToClose)
                throw new InvalidOperationException("the test device was told to fail");
        }

        public void UseDisplays(VhostUserGpuChannel channel) => Heard++;

        public void Process(DeviceVirtqueue queue) => _echo.Process(queue);
    }
}
