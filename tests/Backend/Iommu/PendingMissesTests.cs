using FsCheck;
using FsCheck.Fluent;
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

    [Fact]
    public void An_answer_costs_what_it_answers_however_much_waits()
    {
        const int Most = 16_384;
        PendingMisses misses = new(Most);
        for (ulong i = 0; i < Most; i++)
            Add(misses, i * 7919 % Most * 2 * Page);
        for (ulong i = 0; i < Most; i++)
            misses.Answer(((2 * i) + 1) * Page, (((2 * i) + 2) * Page) - 1, Both);
        misses.Looked.Should().Be(0, "none of these pages was asked for");

        misses.Answer(0, (Most * Page) - 1, Both);
        misses.Looked.Should().Be(Most / 2);
        misses.Count.Should().Be(Most / 2);
        for (ulong i = Most / 2; i < Most; i++)
            misses.Answer(2 * i * Page, 2 * i * Page, Both);
        misses.Looked.Should().Be(Most);
        misses.IsEmpty.Should().BeTrue();
    }

    [Fact]
    public void What_is_answered_with_less_is_said_again_in_the_order_in_which_it_came()
    {
        PendingMisses misses = new(4);
        Add(misses, 2 * Page, Both);
        Add(misses, 0, Both);
        Add(misses, Page, Both);
        Said(misses).Should().HaveCount(3);

        misses.Answer(0, (3 * Page) - 1, Read).Should().BeFalse();

        Said(misses).Select(static miss => miss.Page).Should().Equal(2, 0, 1);
    }

    [Fact]
    public void Any_sequence_leaves_and_says_what_a_list_that_is_searched_from_front_to_back_does()
    {
        Gen<(Step, int, int, int)> step =
            from kind in Gen.Frequency(
                (6, Gen.Constant(Step.Add)), (1, Gen.Constant(Step.AddForLater)), (3, Gen.Constant(Step.Answer)), (3, Gen.Constant(Step.Take)), (1, Gen.Constant(Step.SayAgain)))
            from page in Gen.Choose(0, 9)
            from more in Gen.Choose(0, 3)
            from permission in Gen.Choose(1, 3)
            select (kind, page, more, permission);
        Prop.ForAll(step.ListOf().ToArbitrary(), static list => Follows(list)).Check(Config.QuickThrowOnFailure.WithMaxTest(1000).WithQuietOnSuccess(true));
    }

    private static void Follows(IEnumerable<(Step, int, int, int)> steps)
    {
        PendingMisses misses = new(5);
        PlainMisses plain = new(5);
        foreach ((Step kind, int page, int more, int permission) in steps)
        {
            TranslationMiss miss = new(((ulong)page * Page) + (ulong)more, (VhostUserIotlbPermission)permission);
            if (kind is Step.Add or Step.AddForLater)
            {
                misses.Add(miss, kind == Step.Add);
                plain.Add(miss, kind == Step.Add);
            }
            else if (kind == Step.Answer)
            {
                (ulong first, ulong last) = ((ulong)page * Page, ((ulong)(page + more) * Page) + 5);
                misses.Answer(first, last, miss.Permission).Should().Be(plain.Answer(first, last, miss.Permission));
            }
            else if (kind == Step.SayAgain)
            {
                misses.SayAgain();
                plain.SayAgain();
            }
            else
            {
                misses.TryTake(out TranslationMiss said).Should().Be(plain.TryTake(out TranslationMiss expected));
                said.Should().Be(expected);
            }

            misses.Count.Should().Be(plain.Count);
        }

        while (plain.TryTake(out TranslationMiss expected))
        {
            misses.TryTake(out TranslationMiss said).Should().BeTrue();
            said.Should().Be(expected);
        }

        misses.TryTake(out _).Should().BeFalse();
    }

    private static void Add(PendingMisses misses, ulong address, VhostUserIotlbPermission permission = Read) => misses.Add(new TranslationMiss(address, permission), now: true);

    private static List<TranslationMiss> Said(PendingMisses misses)
    {
        List<TranslationMiss> said = [];
        while (misses.TryTake(out TranslationMiss miss))
            said.Add(miss);
        return said;
    }

    private enum Step
    {
        Add,
        AddForLater,
        Answer,
        Take,
        SayAgain,
    }

    /// <summary>The same in one list, the oldest first, and a list of what is to be said.</summary>
    private sealed class PlainMisses(int most)
    {
        private readonly List<Waiting> _all = [];
        private readonly List<Waiting> _unsaid = [];

        public int Count => _all.Count;

        public void Add(TranslationMiss miss, bool now)
        {
            Waiting? waiting = _all.Find(one => one.Miss.Page == miss.Page && one.Miss.Permission == miss.Permission);
            if (waiting is null)
            {
                if (_all.Count == most)
                    Drop(_all[0]);
                _all.Add(waiting = new Waiting { Miss = miss });
            }

            if (now && !waiting.IsSaid && !_unsaid.Contains(waiting))
                _unsaid.Add(waiting);
        }

        public bool Answer(ulong first, ulong last, VhostUserIotlbPermission permission)
        {
            bool isFinal = false;
            foreach (Waiting waiting in _all.Where(one => one.Miss.IsIn(first, last)).ToArray())
            {
                bool isEnough = (waiting.Miss.Permission & permission) == waiting.Miss.Permission;
                bool isQueued = _unsaid.Contains(waiting);
                if (isEnough || (waiting.HadLess && waiting.IsSaid && !isQueued))
                {
                    isFinal |= !isEnough;
                    Drop(waiting);
                }
                else if (waiting.IsSaid && !isQueued)
                {
                    waiting.HadLess = true;
                    _unsaid.Add(waiting);
                }
            }

            return isFinal;
        }

        public void SayAgain()
        {
            _unsaid.Clear();
            _unsaid.AddRange(_all);
        }

        public bool TryTake(out TranslationMiss miss)
        {
            miss = default;
            if (_unsaid.Count == 0)
                return false;
            miss = _unsaid[0].Miss;
            _unsaid[0].IsSaid = true;
            _unsaid.RemoveAt(0);
            return true;
        }

        private void Drop(Waiting waiting)
        {
            _all.Remove(waiting);
            _unsaid.Remove(waiting);
        }

        private sealed class Waiting
        {
            public TranslationMiss Miss { get; init; }

            public bool IsSaid { get; set; }

            public bool HadLess { get; set; }
        }
    }
}
