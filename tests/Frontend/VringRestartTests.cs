using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>Where a guest's ring goes on when the back-end was lost and nobody noted what it had taken.</summary>
public sealed class VringRestartTests : IDisposable
{
    private const ulong Available = 0x1000;
    private const ulong Used = 0x2000;

    private readonly GuestMemory _memory = GuestRam.Create(0x1_0000);
    private readonly EventNotifier _kick = new();

    public void Dispose()
    {
        _memory.Dispose();
        _kick.Dispose();
    }

    [Theory]
    [InlineData(0, 0)]
    [InlineData(7, 7)]
    [InlineData(65535, 65535)]
    public void A_split_ring_with_nothing_outstanding_goes_on_at_its_used_index(int available, int used)
    {
        VringRestart restart = Look(available, used, VirtioFeatures.Version1);

        restart.Should().Be(new VringRestart(NeedsReset: false, new VringBase((ushort)used), 0, "nothing is outstanding"));
    }

    [Theory]
    [InlineData(9, 7, 2)]
    [InlineData(3, 65530, 9)]
    [InlineData(16, 0, 16)]
    public void One_that_is_answered_in_order_goes_on_there_with_what_is_outstanding(int available, int used, int outstanding)
    {
        VringRestart restart = Look(available, used, VirtioFeatures.InOrder);

        (restart.NeedsReset, restart.Base, restart.Outstanding).Should().Be((false, new VringBase((ushort)used), outstanding));
    }

    [Theory]
    [InlineData(9, 7, VirtioFeatures.Version1, "2 requests are outstanding*IN_ORDER*")]
    [InlineData(17, 0, VirtioFeatures.InOrder, "available index 17 and used index 0*16 entries")]
    [InlineData(0, 1, VirtioFeatures.InOrder, "available index 0 and used index 1*16 entries")]
    [InlineData(0, 0, VirtioFeatures.RingPacked | VirtioFeatures.InOrder, "*packed*")]
    [InlineData(0, 0, VirtioFeatures.AccessPlatform | VirtioFeatures.InOrder, "*those of an IOMMU*")]
    public void Any_other_needs_a_reset(int available, int used, VirtioFeatures features, string reason)
    {
        VringRestart restart = Look(available, used, features);

        restart.NeedsReset.Should().BeTrue();
        restart.Reason.Should().Match(reason);
    }

    [Fact]
    public void A_ring_outside_of_the_memory_is_refused() =>
        ((Action)(() => VringRestart.Of(_memory, Ring() with { UsedRing = new GuestAddress(0x20_0000) }, VirtioFeatures.None))).Should().Throw<ArgumentException>().WithMessage("Ring 3: *");

    [Fact]
    public void One_behind_an_IOMMU_is_not_looked_for_in_the_memory() =>
        VringRestart.Of(_memory, Ring() with { UsedRing = new GuestAddress(0xFFFF_0000_0000) }, VirtioFeatures.AccessPlatform).NeedsReset.Should().BeTrue();

    private VringRestart Look(int available, int used, VirtioFeatures features)
    {
        using (GuestMemoryLease lease = _memory.Acquire())
        {
            lease.TryWrite(new GuestAddress(Available + 2), (ushort)available).Should().BeTrue();
            lease.TryWrite(new GuestAddress(Used + 2), (ushort)used).Should().BeTrue();
        }

        return VringRestart.Of(_memory, Ring(), features);
    }

    private VringSettings Ring() => new()
    {
        Index = 3,
        Size = 16,
        DescriptorTable = new GuestAddress(0),
        AvailableRing = new GuestAddress(Available),
        UsedRing = new GuestAddress(Used),
        Kick = _kick,
    };
}
