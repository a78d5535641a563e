namespace Vhost.Interop.Tests.External;

/// <summary>What is sent, and how much of it may be under way at once.</summary>
internal sealed record EchoPlan
{
    /// <summary>How many buffers of a ring of 1024 may be occupied: what a ring has no room for, testpmd drops.</summary>
    internal const int UsualWindow = 768;

    /// <summary>Bytes of the smallest buffer on the way, without the header.</summary>
    private const int LeastBuffer = 2000;

    private const int Shortest = 60;

    /// <summary>Packets for all queues together; null: until it is told to end.</summary>
    internal long? Packets { get; init; } = 1_000_000;

    /// <summary>The number that the first packet of each queue bears.</summary>
    internal ulong FirstNumber { get; init; }

    /// <summary>Longest packet; the lengths go from 60 to here. 60: all are that short.</summary>
    internal int Longest { get; init; } = Shortest;

    /// <summary>One packet of this many is as long as can be; 0: none is.</summary>
    internal int LongOneIn { get; init; }

    internal int LongLength { get; init; } = 9000;

    /// <summary>Buffers that may be under way for each queue.</summary>
    internal int Window { get; init; } = UsualWindow;

    /// <summary>The most bytes of any packet.</summary>
    internal int MostBytes => Math.Max(Longest, LongOneIn > 0 ? LongLength : 0);

    /// <summary>How long the packet with a number is.</summary>
    internal int LengthOf(ulong number)
    {
        if (LongOneIn > 0 && number % (ulong)LongOneIn == 0)
            return LongLength;
        return Shortest + (int)(number * 0x9E3779B97F4A7C15 >> 40) % (Longest - Shortest + 1);
    }

    /// <summary>The buffers that a packet may take on its way.</summary>
    internal int CostOf(int length) => ((length + LeastBuffer - 1) / LeastBuffer) + (length > LeastBuffer ? 1 : 0);
}
