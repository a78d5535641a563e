using Microsoft.Extensions.Logging;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

/// <summary>Crypto sessions and sockets of displays, from front-ends that get their messages wrong.</summary>
[Collection(ProcessCounts.Name)]
public class CryptoAndGpuTests
{
    [Theory]
    [InlineData(VhostUserRequest.CloseCryptoSession, 8, false)] // none was created
    [InlineData(VhostUserRequest.GpuSetSocket, 0, true)] // an eventfd
    public async Task B35_What_there_is_not_is_refused_and_the_device_hears_nothing(VhostUserRequest request, int size, bool withDescriptor)
    {
        using EventNotifier stray = new();
        BusyDevice device = new();
        await using SessionBench bench = await SessionBench.StartAsync(device);
        ProcessCounts before = ProcessCounts.Snapshot();
        await bench.Frontend.RefusedAsync(request, new byte[size], withDescriptor ? [stray.Descriptor] : []);
        before.AssertBack();
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

    /// <summary>A number belongs to one session for ever: whoever keeps it gets nobody else's.</summary>
    [Theory]
    [InlineData(VhostUserRequest.ResetDevice, 0)]
    [InlineData(VhostUserRequest.ResetOwner, 0)]
    [InlineData(VhostUserRequest.SetStatus, 8)]
    [Shows(Counterpart.Script, VhostUserRequest.CreateCryptoSession, VhostUserRequest.CloseCryptoSession, VhostUserProtocolFeatures.CryptoSession)]
    public async Task B35_The_number_of_a_session_that_a_reset_has_closed_is_refused(VhostUserRequest reset, int size)
    {
        BusyDevice device = new();
        await using SessionBench bench = await SessionBench.StartAsync(device);
        ulong old = await CreateAsync(bench.Frontend);
        await bench.Frontend.AcceptedAsync(reset, new byte[size]);
        device.Heard.Should().Be(2, "it was created, and closed with the reset");
        await ExpectStaleAsync(bench.Frontend, device, old);
    }

    [Fact]
    public async Task B35_The_number_of_a_session_of_another_front_end_is_refused()
    {
        BusyDevice device = new();
        await using SessionBench bench = await SessionBench.StartAsync(device);
        ulong old = await CreateAsync(bench.Frontend);
        await bench.Frontend.DisposeAsync();
        await bench.Served.InTime();
        device.Heard.Should().Be(2, "it was created, and closed with the front-end");

        (VhostUserConnection end, VhostUserConnection ours) = VhostUserConnection.CreatePair();
        Task served = bench.Backend.ServeAsync(ours);
        await using (RawFrontend next = new(end))
        {
            await next.NegotiateAsync();
            await ExpectStaleAsync(next, device, old);
        }

        await served.InTime();
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

    private static async Task<ulong> CreateAsync(RawFrontend frontend)
    {
        byte[] reply = await frontend.AskAsync(VhostUserRequest.CreateCryptoSession, new byte[VhostUserCryptoSession.WideSize]);
        VhostUserCryptoSession.TryReadSessionId(reply, out long id).Should().BeTrue();
        id.Should().BePositive();
        return (ulong)id;
    }

    /// <summary>The device does not hear of it, and the session that is there by now stays.</summary>
    private static async Task ExpectStaleAsync(RawFrontend frontend, BusyDevice device, ulong old)
    {
        await frontend.RefusedAsync(VhostUserRequest.CloseCryptoSession, RawFrontend.U64(old));
        ulong present = await CreateAsync(frontend);
        present.Should().NotBe(old);
        await frontend.RefusedAsync(VhostUserRequest.CloseCryptoSession, RawFrontend.U64(old));
        device.Heard.Should().Be(3);
        await frontend.AcceptedAsync(VhostUserRequest.CloseCryptoSession, RawFrontend.U64(present));
        device.Heard.Should().Be(4);
        await frontend.RefusedAsync(VhostUserRequest.CloseCryptoSession, RawFrontend.U64(present));
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
