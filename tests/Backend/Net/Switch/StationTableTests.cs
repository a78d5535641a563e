using FsCheck;
using FsCheck.Fluent;

namespace Vhost.Backend.Tests;

/// <summary>The table of a switch: who was seen where, for how long it counts, and whose place a new one takes.</summary>
public sealed class StationTableTests
{
    private const int Ports = 3;
    private const int MostPerPort = 3;
    private const long Ageing = 100;
    private const ulong A = 0x0A00_0000_0002, B = 0x0B00_0000_0002, C = 0x0C00_0000_0002, D = 0x0D00_0000_0002;

    private readonly StationTable _table = new(Ports, MostPerPort, Ageing);

    [Fact]
    public void A_station_is_known_where_it_was_seen_until_it_was_silent_too_long()
    {
        _table.Find(A, now: 0).Should().BeNegative();
        _table.Learn(A, port: 1, now: 10);
        _table.Find(A, now: 10 + Ageing - 1).Should().Be(1);
        _table.Find(A, now: 10 + Ageing).Should().BeNegative();
        (_table.Learned, _table.Expired, _table.Count).Should().Be((1, 1, 0));
    }

    [Fact]
    public void Being_asked_for_does_not_keep_a_station_but_sending_does()
    {
        _table.Learn(A, port: 1, now: 0);
        _table.Find(A, now: 90).Should().Be(1);
        _table.Learn(A, port: 1, now: 95);
        _table.Find(A, now: 190).Should().Be(1);
        _table.Find(A, now: 195).Should().BeNegative();
        _table.Learned.Should().Be(1, "a station that is known is not learned again");
    }

    [Fact]
    public void A_station_that_moves_is_known_at_its_new_port_alone()
    {
        _table.Learn(A, port: 0, now: 0);
        _table.Learn(A, port: 2, now: 1);
        _table.Find(A, now: 1).Should().Be(2);
        (_table.Count, _table.Learned, _table.Moved).Should().Be((1, 1, 1));
        _table.Forget(0);
        _table.Find(A, now: 1).Should().Be(2);
        _table.Forget(2);
        _table.Find(A, now: 1).Should().BeNegative();
    }

    [Fact]
    public void One_too_many_takes_the_place_of_the_one_of_its_port_that_was_silent_longest()
    {
        _table.Learn(D, port: 1, now: 0);
        _table.Learn(A, port: 0, now: 1);
        _table.Learn(B, port: 0, now: 2);
        _table.Learn(C, port: 0, now: 3);
        _table.Learn(A, port: 0, now: 4);
        _table.Learn(0x0E00_0000_0002, port: 0, now: 5);

        _table.Find(B, now: 5).Should().BeNegative();
        foreach (ulong known in (ulong[])[A, C, 0x0E00_0000_0002])
            _table.Find(known, now: 5).Should().Be(0);
        _table.Find(D, now: 5).Should().Be(1, "the station of another port loses nothing");
        _table.Replaced.Should().Be(1);
    }

    [Fact]
    public void A_guest_that_makes_addresses_up_costs_no_memory_and_nobody_else_a_place()
    {
        StationTable table = new(ports: 2, mostPerPort: 64, long.MaxValue);
        for (ulong i = 0; i < 64; i++)
            table.Learn(0x0200 + (i << 16), port: 1, now: 0);
        Flood(1000);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Flood(100_000);

        (GC.GetAllocatedBytesForCurrentThread() - before).Should().Be(0);
        table.Count.Should().Be(128);
        for (ulong i = 0; i < 64; i++)
            table.Find(0x0200 + (i << 16), now: 1).Should().Be(1);

        void Flood(int addresses)
        {
            for (int i = 0; i < addresses; i++)
                table.Learn(0x0600 + ((ulong)i << 16), port: 0, now: 1);
        }
    }

    [Fact]
    public void It_answers_as_a_dictionary_would()
    {
        Gen<Step> steps = from kind in Gen.Frequency<int>((6, Gen.Constant(0)), (5, Gen.Constant(1)), (3, Gen.Constant(2)), (1, Gen.Constant(3)))
                          from address in Gen.Choose(1, 9)
                          from port in Gen.Choose(0, Ports - 1)
                          from time in Gen.Choose(0, 70)
                          select new Step(kind, (ulong)address << 8, port, time);
        Prop.ForAll(steps.ListOf().ToArbitrary(), list =>
        {
            StationTable table = new(Ports, MostPerPort, Ageing);
            Model model = new();
            long now = 0;
            foreach (Step step in list)
            {
                now += step.Kind == 2 ? step.Time : 0;
                if (step.Kind == 0)
                {
                    table.Learn(step.Address, step.Port, now);
                    model.Learn(step.Address, step.Port, now);
                }
                else if (step.Kind == 1)
                {
                    table.Find(step.Address, now).Should().Be(model.Find(step.Address, now));
                }
                else if (step.Kind == 3)
                {
                    table.Forget(step.Port);
                    model.Forget(step.Port);
                }

                (table.Count, table.Learned, table.Moved, table.Replaced, table.Expired).Should().Be((model.Known.Count, model.Learned, model.Moved, model.Replaced, model.Expired));
            }

            Copied(table, now, piece: 2).Should().BeEquivalentTo(
                model.Known.Where(one => now - one.Value.Seen < Ageing).Select(one => new KnownStation(one.Key, one.Value.Port, one.Value.Seen)));
            table.Count.Should().Be(Copied(table, now, piece: 100).Count, "what is too old was taken out");
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(500).WithQuietOnSuccess(true));
    }

    /// <summary>In between two pieces packets pass, of whoever sends them.</summary>
    [Fact]
    public void A_station_that_moves_while_the_table_is_copied_is_found_where_it_is()
    {
        _table.Learn(A, port: 0, now: 0);
        _table.Learn(B, port: 0, now: 0);
        KnownStation[] piece = new KnownStation[1];
        int place = 0;
        _table.Copy(ref place, now: 1, piece, out int count).Should().BeTrue();
        (count, piece[0]).Should().Be((1, new KnownStation(A, 0, 0)));

        _table.Learn(C, port: 2, now: 1);
        _table.Learn(B, port: 1, now: 2);

        Copied(_table, now: 3, piece: 1, place).Should().BeEquivalentTo([new KnownStation(B, 1, 2), new KnownStation(C, 2, 1)]);
    }

    private static List<KnownStation> Copied(StationTable table, long now, int piece, int place = 0)
    {
        List<KnownStation> all = [];
        KnownStation[] found = new KnownStation[piece];
        bool more = true;
        while (more)
        {
            more = table.Copy(ref place, now, found, out int count);
            all.AddRange(found.Take(count));
        }

        return all;
    }

    private sealed record Step(int Kind, ulong Address, int Port, int Time);

    private sealed class Model
    {
        private long _order;

        public Dictionary<ulong, (int Port, long Seen, long Order)> Known { get; } = [];

        public long Learned { get; private set; }

        public long Moved { get; private set; }

        public long Replaced { get; private set; }

        public long Expired { get; private set; }

        public int Find(ulong address, long now)
        {
            if (!Known.TryGetValue(address, out (int Port, long Seen, long Order) one))
                return -1;
            if (now - one.Seen < Ageing)
                return one.Port;
            Known.Remove(address);
            Expired++;
            return -1;
        }

        public void Learn(ulong address, int port, long now)
        {
            int before = Find(address, now);
            if (before < 0)
                Learned++;
            else if (before != port)
                Moved++;
            Known.Remove(address);
            KeyValuePair<ulong, (int Port, long Seen, long Order)>[] here = [.. Known.Where(one => one.Value.Port == port).OrderBy(one => one.Value.Order)];
            if (before != port && here.Length == MostPerPort)
            {
                Known.Remove(here[0].Key);
                if (now - here[0].Value.Seen < Ageing)
                    Replaced++;
                else
                    Expired++;
            }

            Known[address] = (port, now, _order++);
        }

        public void Forget(int port)
        {
            foreach (ulong address in Known.Where(one => one.Value.Port == port).Select(one => one.Key).ToArray())
                Known.Remove(address);
        }
    }
}
