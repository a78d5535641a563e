using System.Buffers;
using System.Buffers.Binary;
using System.IO.Pipelines;
using System.Threading.Channels;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Interop.Tests.Migration;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Documentation;

/// <summary>The code of docs/migration.md and of what docs/devices.md says about it.</summary>
public sealed class MigrationSnippets
{
    [Fact]
    public async Task The_state_of_a_device_moves()
    {
        Counter from = new() { Total = 42 };
        Counter to = new();
        await using Pair source = await Pair.StartAsync(from);
        await using Pair destination = await Pair.StartAsync(to);
        await MoveStateAsync(source.Frontend, destination.Frontend, CancellationToken.None).InTime();
        to.Total.Should().Be(42);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_state_that_is_not_taken_or_not_given_keeps_neither_side_waiting(bool refusesToSave)
    {
        Counter to = new() { Total = 1 };
        await using Pair source = await Pair.StartAsync(new OtherDevice(refusesToSave));
        await using Pair destination = await Pair.StartAsync(to);
        Func<Task> move = () => MoveStateAsync(source.Frontend, destination.Frontend, CancellationToken.None).InTime();
        (await move.Should().ThrowAsync<VhostUserRejectedException>()).WithMessage("*CHECK_DEVICE_STATE*");
        to.Total.Should().Be(1, "a state is taken whole or not at all");
    }

    [Fact]
    public async Task A_ring_moves_with_a_request_under_way()
    {
        await using MovedRing ring = new(VirtioFeatures.RingPacked);
        HoldingDevice first = new() { Answers = 0 };
        await ring.AttachAsync(first);
        ring.Submit(1);
        await Eventually.TrueAsync(() => first.Seen.Count == 1);
        VringSettings settings = await SuspendAsync(ring.Ring, CancellationToken.None);
        await ring.DetachAsync();
        await ring.AttachAsync(new HoldingDevice(), at: settings.Base);
        ring.Collect(1).Should().Equal(0);
    }

    private static async Task<VringSettings> SuspendAsync(FrontendVring ring, CancellationToken stop)
    {
        // snippet: suspend
        VringBase at = await ring.SuspendAsync(stop); // the region has what the device had not answered
        VringSettings there = ring.Settings with { Base = at };

        // with the next back-end: UseInflightRegionAsync(region), then StartVringAsync(there)
        // end
        return there;
    }

    [Fact]
    public async Task Memory_comes_afterwards()
    {
        using GuestMemory memory = GuestRam.Create(1 << 20);
        Counter counter = new();
        await using PostcopyPair pair = await PostcopyPair.StartAsync(counter, VirtioFeatures.Version1);
        Channel<(GuestAddress Address, ulong Length)> asked = Channel.CreateUnbounded<(GuestAddress, ulong)>();
        VringSettings ring = new() { Index = 0, Size = 16, DescriptorTable = default, AvailableRing = new GuestAddress(0x1000), UsedRing = new GuestAddress(0x2000), Kick = pair.Kick };

        await ReceiveAsync(
            pair.Frontend, memory, ring, (address, length, stop) => asked.Writer.WriteAsync((address, length), stop), PagesAsync(), CancellationToken.None).InTime();

        asked.Reader.TryRead(out (GuestAddress Address, ulong Length) first).Should().BeTrue("the ring was wanted first");
        first.Address.Value.Should().BeLessThan(0x3000);

        // What was asked for, and then all.
        async IAsyncEnumerable<(GuestAddress Address, byte[] Bytes)> PagesAsync()
        {
            (GuestAddress address, ulong length) = await asked.Reader.ReadAsync();
            asked.Writer.TryWrite((address, length));
            yield return (address, new byte[length]);
            for (ulong at = 0; at < 1 << 20; at += 4096)
                yield return (new GuestAddress(at), new byte[4096]);
        }
    }

    private static async Task ReceiveAsync(
        VhostUserFrontend device, GuestMemory memory, VringSettings ring, PostcopyPageRequest askSource, IAsyncEnumerable<(GuestAddress Address, byte[] Bytes)> pagesFromSource, CancellationToken stop)
    {
        // snippet: postcopy
        await using PostcopyMigration migration = new(memory, askSource); // askSource(address, length, cancellation): that page first, please
        await migration.JoinAsync(device, stop); // before the session has memory
        await device.SetMemoryAsync(memory, stop);
        await device.StartVringAsync(ring, stop); // the guest may run from here on

        await foreach ((GuestAddress address, byte[] bytes) in pagesFromSource.WithCancellation(stop))
            migration.Place(address, bytes);
        await migration.Completion;
        await migration.EndAsync(stop);

        // end
    }

    [Fact]
    public async Task A_device_moves_by_a_snapshot()
    {
        await using MovedRing ring = new(VirtioFeatures.None);
        HoldingDevice first = new() { Answers = 0 };
        await ring.AttachAsync(first);
        ring.Submit(2);
        await Eventually.TrueAsync(() => first.Seen.Count == 2);
        VringSettings here = ring.Ring.Settings;
        await using Pair destination = await Pair.StartAsync(new HoldingDevice(), new() { RequiredProtocolFeatures = VhostUserProtocolFeatures.InflightShmFd });
        await destination.Frontend.SetMemoryAsync(ring.Memory);
        (await MoveAsync(ring.Frontend, destination.Frontend, here.Kick!, here.Call!, CancellationToken.None)).Should().ContainSingle();
        ring.Collect(2).Should().Equal(0, 1);
    }

    private static async Task<IReadOnlyList<FrontendVring>> MoveAsync(
        VhostUserFrontend source, VhostUserFrontend destination, EventNotifier kick, EventNotifier call, CancellationToken stop)
    {
        // snippet: snapshot
        FrontendSnapshot stopped = (await source.SuspendAsync(stop)) with { IsLogging = false }; // the log was for this migration
        byte[] bytes = stopped.ToBytes(); // to the other host, or into a file

        // There, where the session has memory of the same layout with the same bytes, and the device its state:
        IReadOnlyList<FrontendVring> rings = await destination.ResumeAsync(
            FrontendSnapshot.Parse(bytes), ring => ring with { Kick = kick, Call = call }, stop);

        // end
        return rings;
    }

    private static async Task MoveStateAsync(VhostUserFrontend source, VhostUserFrontend destination, CancellationToken stop)
    {
        // snippet: state
        Pipe way = new(); // or two sockets, or a file: any PipeWriter, PipeReader or Stream
        await Task.WhenAll(LoadAsync(), SaveAsync()); // the device there has taken it: its rings may start

        // Each completes its end, with why it failed: the other one would wait for it.
        async Task SaveAsync()
        {
            try
            {
                await source.SaveDeviceStateAsync(way.Writer, stop);
                await way.Writer.CompleteAsync();
            }
            catch (Exception e)
            {
                await way.Writer.CompleteAsync(e);
                throw;
            }
        }

        async Task LoadAsync()
        {
            try
            {
                await destination.LoadDeviceStateAsync(way.Reader, stop);
                await way.Reader.CompleteAsync();
            }
            catch (Exception e)
            {
                await way.Reader.CompleteAsync(e);
                throw;
            }
        }

        // end
    }

    // snippet: migratable
    private sealed class Counter : IMigratableDevice
    {
        private const int Version = 1;

        public long Total { get; set; }

        public int QueueCount => 1;

        public VirtioFeatures Features => VirtioFeatures.Version1;

        public async ValueTask SaveStateAsync(PipeWriter destination, CancellationToken cancellationToken)
        {
            byte[] state = new byte[12];
            BinaryPrimitives.WriteInt32LittleEndian(state, Version);
            BinaryPrimitives.WriteInt64LittleEndian(state.AsSpan(4), Total);
            await destination.WriteAsync(state, cancellationToken);
        }

        public async ValueTask LoadStateAsync(PipeReader source, CancellationToken cancellationToken)
        {
            ReadResult read = await source.ReadAtLeastAsync(13, cancellationToken); // one more than there are: to the end
            byte[] state = read.Buffer.ToArray();
            source.AdvanceTo(read.Buffer.End);
            if (state.Length != 12 || BinaryPrimitives.ReadInt32LittleEndian(state) != Version)
                throw new InvalidDataException("not the state of a counter of version 1"); // the bytes may be anything
            Total = BinaryPrimitives.ReadInt64LittleEndian(state.AsSpan(4));
        }

        public void Process(DeviceVirtqueue queue)
        {
            for (int turn = 0; turn < 64 && queue.TryPop(out DescriptorChain chain); turn++)
            {
                Total += chain.Readable.Length;
                queue.Complete(chain, 0);
            }
        }
    }

    // end
    private sealed class OtherDevice(bool refusesToSave) : IMigratableDevice
    {
        public int QueueCount => 1;

        public VirtioFeatures Features => VirtioFeatures.Version1;

        public async ValueTask SaveStateAsync(PipeWriter destination, CancellationToken cancellationToken)
        {
            if (refusesToSave)
                throw new NotSupportedException("not now");
            await destination.WriteAsync(new byte[1 << 20], cancellationToken);
        }

        public ValueTask LoadStateAsync(PipeReader source, CancellationToken cancellationToken) => throw new NotSupportedException();

        public void Process(DeviceVirtqueue queue)
        {
        }
    }

    private sealed class Pair(VhostUserBackend backend, Task serving, VhostUserFrontend frontend) : IAsyncDisposable
    {
        public VhostUserFrontend Frontend => frontend;

        public static async Task<Pair> StartAsync(IVhostUserDevice device, VhostUserFrontendOptions? options = null)
        {
            (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
            VhostUserBackend backend = new(device);
            Task serving = Task.Run(() => backend.ServeAsync(back));
            options ??= new() { RequiredProtocolFeatures = VhostUserProtocolFeatures.DeviceState };
            return new Pair(backend, serving, await VhostUserFrontend.StartAsync(front, options));
        }

        public async ValueTask DisposeAsync()
        {
            await frontend.DisposeAsync();
            await serving.InTime();
            await backend.DisposeAsync();
        }
    }
}
