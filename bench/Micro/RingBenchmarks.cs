using BenchmarkDotNet.Attributes;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;

namespace Vhost.Bench.Micro;

/// <summary>One request through both halves of a split ring on one thread: submit, publish, pop, complete, flush, drain. Nothing waits, nothing is copied.</summary>
[MemoryDiagnoser]
public class RingBenchmarks : IDisposable
{
    private const int Batch = 32;
    private const ushort RingSize = 256;
    private const ulong MemorySize = 1 << 20;
    private const ulong DataStart = 512 << 10;

    private readonly GuestBuffer[] _readable = [new(new GuestAddress(DataStart), 16)];
    private readonly GuestBuffer[] _writable = [new(new GuestAddress(DataStart + 4096), 4096), new(new GuestAddress(DataStart + 64), 1)];
    private readonly DriverCompletion[] _completions = new DriverCompletion[Batch];
    private GuestMemory _memory = null!;
    private DriverVirtqueue _driver = null!;
    private DeviceVirtqueue _device = null!;

    [Params(false, true)]
    public bool Indirect { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        VirtioFeatures features = VirtioFeatures.Version1 | (Indirect ? VirtioFeatures.IndirectDescriptors : VirtioFeatures.None);
        using (SharedMemory memory = SharedMemory.CreateSealed("bench", MemorySize))
            _memory = GuestMemory.Create(new GuestMemoryRegion(new GuestAddress(0), memory));
        _driver = DriverVirtqueue.Create(_memory, new GuestAddress(0), new DriverVirtqueueOptions { Size = RingSize, IndirectBuffers = Indirect ? 4 : 0 }, features);
        using EventNotifier kick = new();
        VringSettings ring = _driver.Describe(0, kick, call: null);
        VirtqueueSetup setup = new(0, RingSize, User(ring.DescriptorTable), User(ring.AvailableRing), User(ring.UsedRing), 0, features);
        _device = DeviceVirtqueue.TryActivate(_memory, setup, call: null, out _, out string explanation) ?? throw new InvalidOperationException(explanation);
        _driver.DisarmCall();
        _device.DisarmKick();
    }

    [GlobalCleanup]
    public void Dispose()
    {
        _device.Deactivate();
        _driver.Dispose();
        _memory.Dispose();
        GC.SuppressFinalize(this);
    }

    [Benchmark(OperationsPerInvoke = Batch)]
    public int RoundTrip()
    {
        for (uint i = 0; i < Batch; i++)
            _driver.TrySubmit(_readable, _writable, i);
        _driver.Publish();
        while (_device.TryPop(out DescriptorChain chain))
            _device.Complete(chain, 4097);
        _device.Flush();
        return _driver.Drain(_completions);
    }

    private UserAddress User(GuestAddress address) =>
        _memory.TryTranslate(address, 1, out UserAddress user) ? user : throw new InvalidOperationException("The ring is outside memory.");
}
