using System.IO.Pipelines;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using Vhost.Tests.Support;
using static Vhost.Backend.Tests.DeviceStateSteps;

namespace Vhost.Backend.Tests.Hostile;

/// <summary>B34: messages for a device whose state is transferred meanwhile. It was told that there is one thread in it.</summary>
[Collection(ProcessCounts.Name)]
public sealed class DeviceStateBesideTests : IDisposable
{
    private readonly VersatileDevice _device = new();
    private readonly SafeFileHandle _reader;
    private readonly SafeFileHandle _writer;

    public DeviceStateBesideTests() => (_reader, _writer) = Libc.Pipe();

    public void Dispose()
    {
        _reader.Dispose();
        _writer.Dispose();
    }

    [Fact]
    public async Task B34_A_device_hears_of_nothing_while_it_writes_its_state()
    {
        await using SessionBench bench = await SessionBench.StartAsync(_device);
        long known = await CreateAsync(bench);
        _device.Heard.Should().Equal($"create {known}");
        (await BeginAsync(bench.Frontend, Save, _writer)).Should().Be(OwnDescriptorIsUsed);
        await _device.Inside.Task.InTime();

        (await CreateAsync(bench)).Should().BeNegative();
        await bench.Frontend.RefusedAsync(VhostUserRequest.CloseCryptoSession, RawFrontend.U64((ulong)known));
        await bench.Frontend.RefusedAsync(VhostUserRequest.SendRarp, RawFrontend.U64(1));
        (SafeFileHandle ours, SafeFileHandle theirs) = Libc.UnixSocketPair();
        using (ours)
        using (theirs)
            await bench.Frontend.RefusedAsync(VhostUserRequest.GpuSetSocket, default, theirs);
        await bench.Frontend.AskAsync(VhostUserRequest.GetSharedObject, RawFrontend.Bytes(new VhostUserSharedObject(Guid.NewGuid())));
        _device.Heard.Should().HaveCount(1);

        _device.GoOn.SetResult();
        (await CheckAsync(bench.Frontend)).Should().Be(0);
        await bench.Frontend.AcceptedAsync(VhostUserRequest.CloseCryptoSession, RawFrontend.U64((ulong)known));
        await bench.Frontend.AcceptedAsync(VhostUserRequest.SendRarp, RawFrontend.U64(1));
        _device.Heard.Should().Equal($"create {known}", $"close {known}", "announce");
    }

    [Fact]
    public async Task B34_Sessions_of_a_front_end_that_goes_are_closed_when_the_device_has_returned_from_writing_its_state()
    {
        await using SessionBench bench = await SessionBench.StartAsync(_device, new VhostUserBackendOptions { DrainTimeout = TimeSpan.FromMilliseconds(50) });
        long known = await CreateAsync(bench);
        (await BeginAsync(bench.Frontend, Save, _writer)).Should().Be(OwnDescriptorIsUsed);
        await _device.Inside.Task.InTime();

        await bench.Frontend.DisposeAsync();
        await bench.Served.InTime();
        _device.Heard.Should().Equal($"create {known}");

        _device.GoOn.SetResult();
        await Eventually.TrueAsync(() => _device.Heard.Count == 3);
        _device.Heard.Should().Equal($"create {known}", $"close {known}", "reset");
    }

    private static async Task<long> CreateAsync(SessionBench bench)
    {
        VhostUserCryptoSession.TryReadSessionId(await bench.Frontend.AskAsync(VhostUserRequest.CreateCryptoSession, new byte[VhostUserCryptoSession.WideSize]), out long id);
        return id;
    }

    /// <summary>Notes what it is told once there is a session; its state is written when the test wants it, whatever becomes of the front-end.</summary>
    private sealed class VersatileDevice : IMigratableDevice, ICryptoSessionDevice, IGpuDevice, ISharedObjectDevice, IVhostUserNetDevice
    {
        private readonly EchoDevice _echo = new();
        private readonly List<string> _heard = [];

        public TaskCompletionSource Inside { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public TaskCompletionSource GoOn { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public IReadOnlyList<string> Heard
        {
            get
            {
                lock (_heard)
                    return [.. _heard];
            }
        }

        public int QueueCount => 2;

        public int QueuePairs => 1;

        public VirtioFeatures Features => _echo.Features;

        public async ValueTask SaveStateAsync(PipeWriter destination, CancellationToken cancellationToken)
        {
            Inside.SetResult();
            await GoOn.Task;
            await destination.WriteAsync(new byte[] { 1 }, cancellationToken);
        }

        public ValueTask LoadStateAsync(PipeReader source, CancellationToken cancellationToken) => ValueTask.CompletedTask;

        public bool TryCreateSession(ulong id, in VhostUserCryptoSession session)
        {
            Hear($"create {id}");
            return true;
        }

        public void CloseSession(ulong id) => Hear($"close {id}");

        public void UseDisplays(VhostUserGpuChannel channel) => Hear("displays");

        public SafeFileHandle? OpenSharedObject(Guid id)
        {
            Hear("object");
            return null;
        }

        public bool TrySetMtu(ulong mtu) => true;

        public void AnnounceAddress(MacAddress address) => Hear("announce");

        public void Process(DeviceVirtqueue queue) => _echo.Process(queue);

        public void Reset()
        {
            if (Heard.Count > 0)
                Hear("reset");
        }

        private void Hear(string what)
        {
            lock (_heard)
                _heard.Add(what);
        }
    }
}
