using FsCheck;
using FsCheck.Fluent;
using Vhost.Tests.Support;

namespace Vhost.Protocol.Tests;

public sealed class GuestMemoryTests
{
    [Fact]
    public void Addresses_translate_both_ways()
    {
        using GuestMemory memory = GuestRam.Create((0UL, 0x1000UL), (0x10_0000UL, 0x2000UL));

        memory.TryTranslate(new UserAddress(GuestRam.UserOffset + 0x10_0010), 8, out GuestAddress guest).Should().BeTrue();
        guest.Should().Be(new GuestAddress(0x10_0010));
        memory.TryTranslate(new GuestAddress(0x10_0010), 8, out UserAddress user).Should().BeTrue();
        user.Should().Be(new UserAddress(GuestRam.UserOffset + 0x10_0010));
    }

    [Theory]
    [InlineData(0x0UL, 0x1000UL, true)]
    [InlineData(0x0UL, 0x1001UL, false)]
    [InlineData(0xFFFUL, 1UL, true)]
    [InlineData(0x1000UL, 0UL, false)]
    [InlineData(0x1000UL, 1UL, false)]
    [InlineData(0x10UL, ulong.MaxValue, false)]
    [InlineData(ulong.MaxValue, 1UL, false)]
    public void A_range_is_translated_only_when_it_is_wholly_inside_a_region(ulong address, ulong length, bool inside)
    {
        using GuestMemory memory = GuestRam.Create(0x1000);

        memory.TryTranslate(new GuestAddress(address), length, out _).Should().Be(inside);
    }

    [Fact]
    public void Translation_agrees_with_a_search_through_all_regions()
    {
        Gen<ulong[]> starts = Gen.Choose(0, 200).Select(i => (ulong)i * 0x1000).ListOf().Select(l => l.Distinct().Take(60).ToArray());
        Gen<ulong> probes = Gen.Choose(0, 201 * 0x1000).Select(i => (ulong)i);
        Prop.ForAll(starts.Zip(probes).ToArbitrary(), pair =>
        {
            (ulong[] places, ulong probe) = pair;
            using GuestMemory memory = GuestRam.Create([.. places.Select(p => (p, 0x1000UL))]);
            bool expected = places.Any(p => probe >= p && probe < p + 0x1000);
            bool found = memory.TryTranslate(new GuestAddress(probe), 1, out UserAddress user);
            return found == expected && (!found || user.Value == probe + GuestRam.UserOffset);
        }).QuickCheckThrowOnFailure();
    }

    [Fact]
    public void Access_goes_across_adjacent_regions()
    {
        using GuestMemory memory = GuestRam.Create((0UL, 0x1000UL), (0x1000UL, 0x1000UL));
        using GuestMemoryLease lease = memory.Acquire();

        lease.TryWrite(new GuestAddress(0xFFC), 0x1122334455667788UL).Should().BeTrue();
        lease.TryRead(new GuestAddress(0xFFC), out ulong value).Should().BeTrue();
        lease.TryRead(new GuestAddress(0x1000), out uint upper).Should().BeTrue();

        value.Should().Be(0x1122334455667788UL);
        upper.Should().Be(0x11223344U);
    }

    [Fact]
    public void A_write_that_does_not_fit_writes_nothing()
    {
        using GuestMemory memory = GuestRam.Create(0x1000);
        using GuestMemoryLease lease = memory.Acquire();

        lease.TryWrite(new GuestAddress(0xFFC), ulong.MaxValue).Should().BeFalse();
        lease.TryRead(new GuestAddress(0xFFC), out uint left).Should().BeTrue();
        lease.TryRead<ulong>(new GuestAddress(0xFFC), out _).Should().BeFalse();

        left.Should().Be(0);
    }

    [Fact]
    public void Five_hundred_and_nine_regions_are_taken_and_no_more()
    {
        (ulong, ulong)[] places = [.. Enumerable.Range(0, GuestMemory.MaxRegions).Select(i => ((ulong)i * 0x2000, 0x1000UL))];
        using GuestMemory memory = GuestRam.Create(places);
        memory.Regions.Should().HaveCount(509);
        memory.TryTranslate(new GuestAddress(508 * 0x2000), 0x1000, out _).Should().BeTrue();
        GuestMemoryRegion extra = GuestRam.Region(0x1000_0000, 0x1000);

        Action more = () => memory.With(extra).Dispose();

        more.Should().Throw<ArgumentException>().WithMessage("*510 regions*at most 509*");
        extra.Memory.Dispose();
    }

    [Theory]
    [InlineData(0x0UL, 0x2000UL, 0x1000UL, 0x1000UL)] // inside
    [InlineData(0x0UL, 0x1000UL, 0x0UL, 0x1000UL)] // the same twice
    [InlineData(0x0UL, 0x1001UL, 0x1000UL, 0x1000UL)] // by a page, since sizes round up
    public void B20_regions_that_overlap_are_refused_and_named(ulong firstAt, ulong firstSize, ulong secondAt, ulong secondSize)
    {
        using GuestMemory memory = GuestRam.Create(firstSize, firstAt);
        GuestMemoryRegion second = GuestRam.Region(secondAt, secondSize);

        Action with = () => memory.With(second).Dispose();

        with.Should().Throw<ArgumentException>().WithMessage("*overlaps*0x" + secondAt.ToString("x", null) + "*");
        second.Memory.Dispose();
    }

    [Fact]
    public void B20_regions_that_overlap_in_user_addresses_only_are_refused()
    {
        using SharedMemory one = SharedMemory.CreateSealed("one", 0x1000);
        using SharedMemory two = SharedMemory.CreateSealed("two", 0x1000);

        Action create = () => GuestMemory.Create(
            new GuestMemoryRegion(new GuestAddress(0), one, new UserAddress(0x1000)),
            new GuestMemoryRegion(new GuestAddress(0x10000), two, new UserAddress(0x1800)));

        create.Should().Throw<ArgumentException>().WithMessage("*user addresses*");
    }

    [Fact]
    public void B20_a_region_over_the_end_of_the_address_space_is_refused_but_one_up_to_it_is_not()
    {
        using SharedMemory memory = SharedMemory.CreateSealed("top", 0x1000);

        Action over = () => GuestMemory.Create(new GuestMemoryRegion(new GuestAddress(ulong.MaxValue - 0xFFE), memory, new UserAddress(0)));
        using GuestMemory upTo = GuestMemory.Create(new GuestMemoryRegion(new GuestAddress(ulong.MaxValue - 0xFFF), memory, new UserAddress(0)));

        over.Should().Throw<ArgumentException>().WithMessage("*passes the end of the guest address space*");
        upTo.TryTranslate(new GuestAddress(ulong.MaxValue), 1, out _).Should().BeTrue();
        using GuestMemoryLease lease = upTo.Acquire();
        lease.IsMapped(new GuestAddress(ulong.MaxValue), 2).Should().BeFalse();
    }

    [Fact]
    public void A_table_with_and_without_a_region_shares_the_rest()
    {
        using GuestMemory one = GuestRam.Create(0x1000);
        GuestMemoryRegion added = GuestRam.Region(0x10_0000, 0x1000);
        using GuestMemory two = one.With(added);
        added.Memory.Dispose();
        using GuestMemory back = two.Without(added.GuestAddress, added.Size, added.UserAddress);

        two.Regions.Should().HaveCount(2);
        back.Regions.Should().ContainSingle().Which.Should().BeSameAs(one.Regions[0]);
        Action again = () => back.Without(added.GuestAddress, added.Size, added.UserAddress);
        again.Should().Throw<ArgumentException>().WithMessage("no region of 0x1000 bytes at guest 0x100000*");
    }

    [Fact]
    public void Regions_above_two_and_four_gibibytes_are_reached()
    {
        const ulong Gib = 1UL << 30;
        using GuestMemory memory = GuestRam.Create(6 * Gib, Gib); // sparse: only touched pages exist
        using GuestMemoryLease lease = memory.Acquire();

        foreach (ulong offset in new[] { (2 * Gib) - 4, 2 * Gib, (4 * Gib) - 4, 4 * Gib, (6 * Gib) - 8 })
        {
            lease.TryWrite(new GuestAddress(Gib + offset), offset).Should().BeTrue();
            lease.TryRead(new GuestAddress(Gib + offset), out ulong value).Should().BeTrue();
            value.Should().Be(offset);
        }

        lease.TryWrite(new GuestAddress(Gib + (6 * Gib) - 7), 0UL).Should().BeFalse();
    }
}

[Collection(ProcessCounts.Name)]
public sealed class GuestMemoryLifetimeTests
{
    [Fact]
    public void Mappings_go_when_the_last_lease_ends_whatever_the_order()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        SharedMemory shared = SharedMemory.CreateSealed("life", 0x1000);
        GuestMemory memory = GuestMemory.Create(new GuestMemoryRegion(new GuestAddress(0), shared));
        GuestMemoryLease lease = memory.Acquire();

        shared.Dispose();
        memory.Dispose();

        memory.Released.IsCompleted.Should().BeFalse();
        lease.TryWrite(new GuestAddress(0), 42).Should().BeTrue();
        lease.Dispose();
        memory.Released.IsCompletedSuccessfully.Should().BeTrue();
        before.AssertBack();
    }

    [Fact]
    public void A_table_over_memory_that_is_gone_is_refused_and_holds_nothing()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        GuestMemoryRegion there = GuestRam.Region(0, 0x1000);
        GuestMemoryRegion gone = GuestRam.Region(0x10_0000, 0x1000);
        gone.Memory.Dispose();

        Action create = () => GuestMemory.Create(there, gone);
        create.Should().Throw<ObjectDisposedException>();
        there.Memory.Dispose();
        before.AssertBack();
    }

    [Fact]
    public void Leases_on_the_same_table_are_equal()
    {
        using GuestMemory one = GuestRam.Create(0x1000);
        using GuestMemory other = GuestRam.Create(0x1000);
        using GuestMemoryLease first = one.Acquire();
        using GuestMemoryLease second = one.Acquire();
        using GuestMemoryLease third = other.Acquire();

        (first == second).Should().BeTrue();
        (first != third).Should().BeTrue();
        first.Equals((object)second).Should().BeTrue();
        first.Equals((object)third).Should().BeFalse();
        first.Equals(null).Should().BeFalse();
        first.GetHashCode().Should().Be(second.GetHashCode());
        default(GuestMemoryLease).GetHashCode().Should().Be(0);
        first.IsMapped(new GuestAddress(0x123), 0).Should().BeTrue("no byte is asked for");
    }

    [Fact]
    public void No_lease_is_given_on_a_disposed_table()
    {
        GuestMemory memory = GuestRam.Create(0x1000);
        GuestMemoryLease lease = memory.Acquire();
        memory.Dispose();

        Action held = () => memory.Acquire();
        held.Should().Throw<ObjectDisposedException>();
        lease.Dispose();
        Action released = () => memory.Acquire();
        released.Should().Throw<ObjectDisposedException>();
        memory.Dispose();
        memory.Released.IsCompletedSuccessfully.Should().BeTrue();
    }

    [Fact]
    public void Leases_taken_while_the_table_is_disposed_never_release_it_twice()
    {
        for (int round = 0; round < 200; round++)
        {
            GuestMemory memory = GuestRam.Create(0x1000);
            Parallel.For(0, 4, i =>
            {
                try
                {
                    using GuestMemoryLease lease = memory.Acquire();
                    lease.TryWrite(new GuestAddress(0), i);
                }
                catch (ObjectDisposedException)
                {
                }

                memory.Dispose();
            });
            memory.Released.IsCompletedSuccessfully.Should().BeTrue();
        }
    }
}
