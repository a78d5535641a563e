using Vhost.Protocol;

namespace Vhost.Backend.Tests.Iommu;

public sealed class PendingMissesTests
{
    private const ulong Page = 4096;
    private const VhostUserIotlbPermission Read = VhostUserIotlbPermission.ReadOnly;
    private const VhostUserIotlbPermission Both = VhostUserIotlbPermission.ReadWrite;

    [Fact]
    public void What_is_answered_with_less_is_final_only_when_it_was_said_a_second_time()
    {
        PendingMisses misses = new(4);
        Add(misses, 0, Both);
        Said(misses).Should().ContainSingle();

        misses.Answer(0, Page - 1, Read).Should().BeFalse("that may be the answer to somebody else");
        misses.Answer(0, Page - 1, Read).Should().BeFalse("it has not been said again yet");
        Said(misses).Should().Equal(new TranslationMiss(0, Both));
        misses.Answer(0, Page - 1, Read).Should().BeTrue();
        misses.IsEmpty.Should().BeTrue();
    }

    [Fact]
    public void Each_page_is_asked_for_once_for_each_permission_until_all_are_said_again()
    {
        PendingMisses misses = new(4);
        Add(misses, 0);
        Add(misses, 100);
        Add(misses, Page);
        Add(misses, 0, Both);

        Said(misses).Should().Equal(new TranslationMiss(0, Read), new TranslationMiss(Page, Read), new TranslationMiss(0, Both));
        Add(misses, 8);
        Said(misses).Should().BeEmpty();

        misses.SayAgain();
        misses.SayAgain();
        Said(misses).Should().HaveCount(3);
    }

    [Fact]
    public void The_oldest_makes_room_and_can_be_asked_for_again()
    {
        PendingMisses misses = new(4);
        for (ulong i = 0; i < 100_000; i++)
            Add(misses, i * Page);

        misses.Count.Should().Be(4);
        Said(misses).Select(miss => miss.Page).Should().Equal(99_996, 99_997, 99_998, 99_999);
        Add(misses, 0);
        Said(misses).Should().Equal(new TranslationMiss(0, Read));
        misses.Count.Should().Be(4);
    }

    [Fact]
    public void What_is_answered_is_not_said_any_more()
    {
        PendingMisses misses = new(4);
        Add(misses, 0);
        Add(misses, Page);
        Add(misses, 2 * Page);

        misses.Answer(Page, (3 * Page) - 1, Read).Should().BeFalse("that is all that was asked for");

        Said(misses).Should().Equal(new TranslationMiss(0, Read));
        misses.SayAgain();
        Said(misses).Should().ContainSingle();
        misses.Clear();
        misses.IsEmpty.Should().BeTrue();
        Said(misses).Should().BeEmpty();
    }

    [Fact]
    public void Who_asked_for_more_than_the_answer_has_asks_once_more_and_takes_the_second_for_an_answer()
    {
        PendingMisses misses = new(4);
        Add(misses, 0, Both);
        misses.Answer(0, Page - 1, Read).Should().BeFalse("nobody has asked yet");
        Said(misses).Should().ContainSingle();

        misses.Answer(0, Page - 1, Read).Should().BeFalse("somebody else may have asked for it");
        Said(misses).Should().Equal(new TranslationMiss(0, Both));
        misses.Answer(0, Page - 1, Read).Should().BeTrue();

        misses.IsEmpty.Should().BeTrue();
        Add(misses, 0, Both);
        Said(misses).Should().ContainSingle();
        misses.Answer(0, Page - 1, Both).Should().BeFalse();
        misses.IsEmpty.Should().BeTrue();
    }

    [Fact]
    public void What_need_not_be_said_now_is_said_when_all_are()
    {
        PendingMisses misses = new(4);
        misses.Add(new TranslationMiss(0, Both), now: false);
        misses.IsEmpty.Should().BeFalse();
        Said(misses).Should().BeEmpty();
        misses.SayAgain();
        Said(misses).Should().ContainSingle();

        misses.Add(new TranslationMiss(Page, Both), now: false);
        Add(misses, Page, Both);
        Said(misses).Should().ContainSingle("somebody needs it now");
    }

    private static void Add(PendingMisses misses, ulong address, VhostUserIotlbPermission permission = Read) => misses.Add(new TranslationMiss(address, permission), now: true);

    private static List<TranslationMiss> Said(PendingMisses misses)
    {
        List<TranslationMiss> said = [];
        while (misses.TryTake(out TranslationMiss miss))
            said.Add(miss);
        return said;
    }
}
