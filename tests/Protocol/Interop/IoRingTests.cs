using Microsoft.Win32.SafeHandles;
using Vhost.Tests.Support;

namespace Vhost.Protocol.Tests;

/// <summary>The ring shared with the kernel, over real files.</summary>
[Collection(ProcessCounts.Name)]
public sealed class IoRingTests : IDisposable
{
    private const int Size = 1 << 20;
    private readonly string _path = Path.Combine(Path.GetTempPath(), $"vu-{Guid.NewGuid():N}.img");
    private readonly GuestMemory _memory = GuestRam.Create((0UL, (ulong)Size), ((ulong)Size, (ulong)Size));
    private readonly GuestMemoryLease _lease;
    private readonly SafeFileHandle _file;

    public IoRingTests()
    {
        _lease = _memory.Acquire();
        byte[] content = new byte[Size];
        new Random(1).NextBytes(content);
        File.WriteAllBytes(_path, content);
        _file = File.OpenHandle(_path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
    }

    public void Dispose()
    {
        _file.Dispose();
        _lease.Dispose();
        _memory.Dispose();
        File.Delete(_path);
    }

    [SkippableFact]
    public void What_is_written_and_read_is_what_the_file_holds()
    {
        using IoRing ring = Open(4);
        BufferSegment[] pieces = [Piece(100, 500), Piece(Size - 200, 200), Piece(Size, 324)];
        ring.Read(2, 4096, new GuestBuffers(pieces, 1024));
        ring.InFlight.Should().Be(1);
        ring.Submit();
        Take(ring).Should().Be((2, 1024));
        byte[] content = File.ReadAllBytes(_path);
        Guest(100, 500).Concat(Guest(Size - 200, 524)).Should().Equal(content[4096..5120]);

        ring.Write(0, 9000, new GuestBuffers(pieces, 1024).Slice(300, 300), durable: false);
        ring.Write(1, 20000, new GuestBuffers(pieces, 1024).Slice(10, 20), durable: true);
        ring.Submit();
        (int, int)[] done = [Take(ring), Take(ring)];
        done.Should().BeEquivalentTo([(0, 300), (1, 20)]);
        ring.Sync(3);
        ring.Allocate(0, Libc.FALLOC_FL_PUNCH_HOLE | Libc.FALLOC_FL_KEEP_SIZE, 65536, 4096);
        ring.Submit();
        done = [Take(ring), Take(ring)];
        done.Should().BeEquivalentTo([(3, 0), (0, 0)]);
        byte[] data = content[4396..4696];
        data.CopyTo(content, 9000);
        content.AsSpan(4106, 20).CopyTo(content.AsSpan(20000));
        content.AsSpan(65536, 4096).Clear();
        File.ReadAllBytes(_path).AsSpan().SequenceEqual(content).Should().BeTrue();
        ring.InFlight.Should().Be(0);
    }

    [SkippableFact]
    public void More_pieces_than_one_submission_takes_are_a_short_transfer()
    {
        using IoRing ring = Open(1);
        BufferSegment[] pieces = [.. Enumerable.Range(0, 1000).Select(i => Piece(i * 8, 8))];
        ring.Read(0, 0, new GuestBuffers(pieces, 8000));
        ring.Submit();
        Take(ring).Should().Be((0, 1024));
        Guest(0, 1024).Should().Equal(File.ReadAllBytes(_path)[..1024]);
    }

    [SkippableFact]
    public void Errors_and_the_end_of_the_file_are_results()
    {
        using IoRing ring = Open(2);
        ring.Read(0, Size - 10, new GuestBuffers([Piece(0, 100)], 100));
        ring.Read(1, Size, new GuestBuffers([Piece(0, 100)], 100));
        ring.Submit();
        (int, int)[] done = [Take(ring), Take(ring)];
        done.Should().BeEquivalentTo([(0, 10), (1, 0)]);
        using SafeFileHandle readOnly = File.OpenHandle(_path);
        using IoRing reading = IoRing.TryCreate(readOnly, 1, out _)!;
        reading.Write(0, 0, new GuestBuffers([Piece(0, 100)], 100), durable: false);
        reading.Submit();
        Take(reading).Should().Be((0, -Libc.EBADF));
    }

    [SkippableFact]
    public void A_place_is_used_again_and_again_beyond_every_wrap()
    {
        using IoRing ring = Open(3);
        for (int i = 0; i < 1000; i++)
        {
            for (int place = 0; place < 3; place++)
                ring.Read(place, (ulong)i, new GuestBuffers([Piece(place * 64, 64)], 64));
            ring.Prepared.Should().Be(3);
            ring.Submit();
            ring.Prepared.Should().Be(0);
            (int Place, int)[] done = [Take(ring), Take(ring), Take(ring)];
            done.Should().BeEquivalentTo([(0, 64), (1, 64), (2, 64)]);
        }

        ring.TryTake(out _, out _).Should().BeFalse();
    }

    [SkippableFact]
    public void Completions_can_be_waited_for()
    {
        using IoRing ring = Open(1);
        ring.Completed.Wait(TimeSpan.Zero).Should().BeFalse();
        ring.Sync(0);
        ring.HasCompletions.Should().BeFalse();
        ring.Submit();
        ring.Completed.Wait(TimeSpan.FromSeconds(10)).Should().BeTrue();
        ring.HasCompletions.Should().BeTrue();
        ring.Completed.TryConsume().Should().BeTrue();
        Take(ring).Should().Be((0, 0));
    }

    [SkippableFact]
    public void It_keeps_its_file_open_and_leaves_nothing_behind()
    {
        Open(1).Dispose();
        ProcessCounts before = ProcessCounts.Snapshot();
        IoRing ring;
        using (SafeFileHandle file = File.OpenHandle(_path))
            ring = IoRing.TryCreate(file, 7, out _)!;
        ring.Places.Should().Be(7);
        ring.Read(6, 0, new GuestBuffers([Piece(0, 100)], 100));
        ring.Submit();
        FluentActions.Invoking(ring.Dispose).Should().Throw<InvalidOperationException>().WithMessage("1 requests are in flight.");
        Take(ring).Should().Be((6, 100));
        ring.Sync(0);
        ring.Dispose();
        ring.Dispose();
        FluentActions.Invoking(() => ring.TryTake(out _, out _)).Should().Throw<ObjectDisposedException>();
        FluentActions.Invoking(() => ring.Sync(0)).Should().Throw<ObjectDisposedException>();
        before.AssertBack();
    }

    [SkippableTheory]
    [InlineData(0)]
    [InlineData(1)]
    public void Without_descriptors_there_is_a_reason_and_no_ring(int left)
    {
        Open(1).Dispose();
        ProcessCounts before = ProcessCounts.Snapshot();
        IoRing? ring;
        LinuxException? failure;
        using (DescriptorLimit.Leaving(left))
            ring = IoRing.TryCreate(_file, 8, out failure);
        ring.Should().BeNull();
        failure!.Errno.Should().Be(Libc.EMFILE);
        before.AssertBack();
    }

    private IoRing Open(int places)
    {
        IoRing? ring = IoRing.TryCreate(_file, places, out LinuxException? failure);
        Skip.If(ring is null, failure?.Message);
        return ring!;
    }

    private static (int Place, int Result) Take(IoRing ring)
    {
        int place, result;
        while (!ring.TryTake(out place, out result))
            ring.Completed.Wait(TimeSpan.FromSeconds(10)).Should().BeTrue();
        return (place, result);
    }

    private BufferSegment Piece(int at, int length)
    {
        _memory.TryGetAddress(new GuestAddress((ulong)at), (ulong)length, out nint address).Should().BeTrue();
        return new BufferSegment(address, (uint)length);
    }

    private byte[] Guest(int at, int length)
    {
        byte[] bytes = new byte[length];
        _lease.TryCopyTo(new GuestAddress((ulong)at), bytes).Should().BeTrue();
        return bytes;
    }
}
