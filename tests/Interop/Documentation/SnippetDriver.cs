using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Documentation;

/// <summary>Memory and notifiers of a driver that a test plays, one request at a time.</summary>
internal sealed class SnippetDriver : IDisposable
{
    private static readonly GuestAddress _request = new(0x8000);
    private static readonly GuestAddress _answer = new(0x9000);

    private readonly SharedMemory _ram = SharedMemory.CreateSealed("guest", 1 << 20);
    private readonly EventNotifier _kick = new();
    private readonly EventNotifier _call = new();
    private readonly GuestMemoryLease _lease;
    private DriverVirtqueue? _ring;

    internal SnippetDriver()
    {
        Memory = GuestMemory.Create(new GuestMemoryRegion(new GuestAddress(0), _ram));
        _lease = Memory.Acquire();
    }

    internal GuestMemory Memory { get; }

    /// <summary>Shares the memory and starts a ring.</summary>
    internal async Task StartAsync(VhostUserFrontend session)
    {
        await session.SetMemoryAsync(Memory);
        _ring = DriverVirtqueue.Create(Memory, new GuestAddress(0), new DriverVirtqueueOptions { Size = 8 }, session.AcknowledgedFeatures);
        await session.StartVringAsync(_ring.Describe(0, _kick, _call));
    }

    /// <summary>One request and its answer.</summary>
    /// <param name="bytes">What the device reads.</param>
    /// <param name="room">The most bytes that it may answer.</param>
    internal async Task<byte[]> AskAsync(byte[] bytes, int room)
    {
        _lease.TryCopyFrom(bytes, _request).Should().BeTrue();
        _ring!.TrySubmit([new GuestBuffer(_request, (uint)bytes.Length)], [new GuestBuffer(_answer, (uint)room)], token: 1).Should().BeTrue();
        if (_ring.Publish())
            _kick.Signal();
        DriverCompletion[] done = new DriverCompletion[1];
        await Eventually.TrueAsync(() => _ring.Drain(done) == 1);
        byte[] answer = new byte[done[0].BytesWritten];
        _lease.TryCopyTo(_answer, answer).Should().BeTrue();
        return answer;
    }

    public void Dispose()
    {
        _ring?.Dispose();
        _lease.Dispose();
        Memory.Dispose();
        _call.Dispose();
        _kick.Dispose();
        _ram.Dispose();
    }
}
