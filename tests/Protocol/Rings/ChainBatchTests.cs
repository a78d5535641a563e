using Vhost.Tests.Support;

namespace Vhost.Protocol.Tests;

/// <summary>What is read from and written to a chain of a batch without a list of its buffers.</summary>
public sealed class ChainBatchTests : SplitRingBench
{
    [Theory]
    [InlineData(16u, 0u, 0u)] // in one buffer
    [InlineData(100u, 0u, 0u)] // the start of a longer one
    [InlineData(0u, 16u, 0u)] // behind a buffer of no bytes
    [InlineData(7u, 9u, 0u)] // in two
    [InlineData(1u, 2u, 13u)] // in three
    public void A_value_is_read_from_the_start_of_a_chain_whatever_pieces_it_comes_in(uint first, uint second, uint third)
    {
        Guid value = new("00112233-4455-6677-8899-aabbccddeeff");
        Put(value, [(Data, first), (Data + 0x1000, second), (Data + 0x2000, third)]);
        Ring.Descriptor(0, Data, first, RawSplitRing.Next, 1);
        Ring.Descriptor(1, Data + 0x1000, second, RawSplitRing.Next, 2);
        Ring.Descriptor(2, Data + 0x2000, third);

        ChainBatch batch = Walk(0);

        batch.TryRead(batch[0], out Guid read).Should().BeTrue();
        read.Should().Be(value);
    }

    [Fact]
    public void A_value_that_lies_in_two_regions_is_read_too()
    {
        Guid value = new("00112233-4455-6677-8899-aabbccddeeff");
        Put(value, [(0x20_0000 - 5, 5), (0x20_0000, 11)]);
        Ring.Descriptor(0, 0x20_0000 - 5, 16);

        ChainBatch batch = Walk(0);

        batch.TryRead(batch[0], out Guid read).Should().BeTrue();
        read.Should().Be(value);
    }

    [Theory]
    [InlineData(15u)]
    [InlineData(0u)]
    public void A_value_is_not_read_from_a_chain_that_has_fewer_bytes_for_the_device_to_read(uint length)
    {
        Ring.Descriptor(0, Data, length, RawSplitRing.Next, 1);
        Ring.Descriptor(1, Data + 0x1000, 100, RawSplitRing.Write);

        ChainBatch batch = Walk(0);

        batch.TryRead(batch[0], out Guid _).Should().BeFalse("what the device writes is not read");
    }

    [Theory]
    [InlineData(512u, 1u, Data + 0x1000)]
    [InlineData(0u, 1u, Data + 0x1000)]
    [InlineData(512u, 0u, Data + 511)] // behind it a buffer of no bytes
    [InlineData(512u, 300u, Data + 0x1000 + 299)]
    public void The_last_byte_for_the_device_to_write_is_written_and_no_other(uint first, uint second, ulong last)
    {
        Fill(Data - 64, 0x2040, 0xEE);
        Ring.Descriptor(0, Data - 64, 64, RawSplitRing.Next, 1);
        Ring.Descriptor(1, Data, first, RawSplitRing.Next | RawSplitRing.Write, 2);
        Ring.Descriptor(2, Data + 0x1000, second, RawSplitRing.Write);

        ChainBatch batch = Walk(0);

        batch.TryWriteLast(batch[0], 0x01).Should().BeTrue();
        Changed(Data - 64, 0x2040, 0xEE).Should().Equal(last);
    }

    [Fact]
    public void The_last_byte_is_in_the_last_region_that_a_buffer_reaches_into()
    {
        Fill(0x20_0000 - 100, 200, 0xEE);
        Ring.Descriptor(0, 0x20_0000 - 100, 101, RawSplitRing.Write);

        ChainBatch batch = Walk(0);

        batch.TryWriteLast(batch[0], 0x01).Should().BeTrue();
        Changed(0x20_0000 - 100, 200, 0xEE).Should().Equal(0x20_0000UL);
    }

    [Fact]
    public void A_chain_without_a_byte_to_write_has_no_last_one()
    {
        Fill(Data, 16, 0xEE);
        Ring.Descriptor(0, Data, 16, RawSplitRing.Next, 1);
        Ring.Descriptor(1, Data, 0, RawSplitRing.Write);

        ChainBatch batch = Walk(0);

        batch.TryWriteLast(batch[0], 0x01).Should().BeFalse();
        Changed(Data, 16, 0xEE).Should().BeEmpty();
    }

    [Fact]
    public void Nothing_is_read_from_or_written_to_a_chain_whoseMemory_may_be_gone()
    {
        Fill(Data, 64, 0xEE);
        Ring.Descriptor(0, Data, 32, RawSplitRing.Next, 1);
        Ring.Descriptor(1, Data + 32, 32, RawSplitRing.Write);
        ChainBatch batch = Walk(0);
        FetchedChain chain = batch[0];

        batch.Forget();

        batch.TryWriteLast(chain, 0x01).Should().BeFalse();
        batch.Invoking(forgotten => forgotten.TryRead(chain, out Guid _)).Should().Throw<InvalidOperationException>();
        Changed(Data, 64, 0xEE).Should().BeEmpty();
    }

    [Theory]
    [InlineData(13u)]
    [InlineData(12u)]
    [InlineData(11u)]
    [InlineData(0u)]
    public void What_the_device_writes_can_be_had_without_its_end(uint length)
    {
        Ring.Descriptor(0, Data, 12, RawSplitRing.Next | RawSplitRing.Write, 1);
        Ring.Descriptor(1, Data + 100, 1, RawSplitRing.Write);
        Fill(Data, 128, 0xEE);

        ChainBatch batch = Walk(0);
        GuestBuffers start = batch.WritableStart(batch[0], length);
        start.Fill(0x01);

        start.Length.Should().Be(length);
        ulong[] all = [.. Enumerable.Range(0, 12).Select(i => Data + (ulong)i), Data + 100];
        Changed(Data, 128, 0xEE).Should().Equal(all[..(int)length]);
    }

    [Fact]
    public void No_more_can_be_had_than_the_device_writes()
    {
        Ring.Descriptor(0, Data, 8, RawSplitRing.Write);
        ChainBatch batch = Walk(0);

        batch.Invoking(taken => taken.WritableStart(taken[0], 9).Length).Should().Throw<ArgumentOutOfRangeException>();
    }

    [Fact]
    public void Each_chain_of_a_batch_has_a_start_and_an_end_of_its_own()
    {
        Guid first = new("00112233-4455-6677-8899-aabbccddeeff");
        Guid second = new("ffeeddcc-bbaa-9988-7766-554433221100");
        Put(first, [(Data, 16)]);
        Put(second, [(Data + 0x1000, 16)]);
        Fill(Data + 16, 0x100, 0xEE);
        Fill(Data + 0x1010, 0x100, 0xEE);
        Ring.Descriptor(0, Data, 16, RawSplitRing.Next, 1);
        Ring.Descriptor(1, Data + 16, 9, RawSplitRing.Write);
        Ring.Descriptor(2, Data + 0x1000, 16, RawSplitRing.Next, 3);
        Ring.Descriptor(3, Data + 0x1010, 5, RawSplitRing.Next | RawSplitRing.Write, 4);
        Ring.Descriptor(4, Data + 0x1080, 3, RawSplitRing.Write);

        // The first is walked step by step, and opens the region for the second, which is taken in one pass.
        ChainBatch batch = new(Size, Memory);
        SplitChainWalker walker = new(Map(Memory, Ring), batch, VirtioFeatures.None);
        walker.Walk(0).Should().Be(VirtqueueFault.None);
        walker.Walk(2).Should().Be(VirtqueueFault.None);

        batch.TryRead(batch[0], out Guid read).Should().BeTrue();
        read.Should().Be(first);
        batch.TryRead(batch[1], out read).Should().BeTrue();
        read.Should().Be(second);
        batch.TryWriteLast(batch[0], 0x01).Should().BeTrue();
        Changed(Data + 16, 0x100, 0xEE).Should().Equal(Data + 24);
        Changed(Data + 0x1010, 0x100, 0xEE).Should().BeEmpty();
        batch.TryWriteLast(batch[1], 0x01).Should().BeTrue();
        Changed(Data + 16, 0x100, 0xEE).Should().Equal(Data + 24);
        Changed(Data + 0x1010, 0x100, 0xEE).Should().Equal(Data + 0x1082);
    }

    private ChainBatch Walk(ushort head)
    {
        ChainBatch batch = new(Size, Memory);
        new SplitChainWalker(Map(Memory, Ring), batch, VirtioFeatures.None).Walk(head).Should().Be(VirtqueueFault.None);
        return batch;
    }

    private void Put(Guid value, ReadOnlySpan<(ulong At, uint Length)> pieces)
    {
        using GuestMemoryLease lease = Memory.Acquire();
        ReadOnlySpan<byte> left = value.ToByteArray();
        foreach ((ulong at, uint length) in pieces)
        {
            for (uint i = 0; i < length && !left.IsEmpty; i++, left = left[1..])
            {
                lease.TryWrite(new GuestAddress(at + i), left[0]).Should().BeTrue();
            }
        }
    }

    private void Fill(ulong at, uint length, byte value)
    {
        using GuestMemoryLease lease = Memory.Acquire();
        for (uint i = 0; i < length; i++)
        {
            lease.TryWrite(new GuestAddress(at + i), value).Should().BeTrue();
        }
    }

    /// <summary>Where something else than <paramref name="value"/> is.</summary>
    private List<ulong> Changed(ulong at, uint length, byte value)
    {
        using GuestMemoryLease lease = Memory.Acquire();
        List<ulong> changed = [];
        for (uint i = 0; i < length; i++)
        {
            lease.TryRead(new GuestAddress(at + i), out byte now).Should().BeTrue();
            if (now != value)
            {
                changed.Add(at + i);
            }
        }

        return changed;
    }
}
