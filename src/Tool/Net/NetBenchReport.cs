namespace Vhost.Tool;

/// <summary>What <c>net bench --json</c> prints: figures of the measured interval, after warm-up.</summary>
internal sealed record NetBenchReport
{
    public required string Role { get; init; }

    public required string Mode { get; init; }

    /// <summary>What both sides agreed on: split or packed, and <c>-inorder</c> and <c>-mergeable</c> where so.</summary>
    public required string Ring { get; init; }

    public required int Size { get; init; }

    public required int Burst { get; init; }

    public required int Queues { get; init; }

    public required string Features { get; init; }

    /// <summary>Packets sent by <c>txonly</c>, received by the other modes.</summary>
    public required long Packets { get; init; }

    public required decimal Seconds { get; init; }

    public required decimal Mpps { get; init; }

    public required long Bytes { get; init; }

    /// <summary>Share of the calls that found no packet to receive or, of <c>txonly</c>, no room to send: the other side was the slower one then.</summary>
    public required decimal EmptyPollsPercent { get; init; }

    /// <summary>Received packets of a sample that are what a sender builds.</summary>
    public required long Verified { get; init; }

    /// <summary>Received packets of the sample that are not.</summary>
    public required long Bad { get; init; }

    /// <summary>
    /// Verified packets that carry another number than that of the packets that had come before on their queue. Between two of these commands none must: some were lost, or
    /// came twice, or in another order. A peer that drops packets, or began to send before, gives such figures too.
    /// </summary>
    public required long Astray { get; init; }

    /// <summary>Bytes that the whole process allocated on the managed heap in the measured interval.</summary>
    public required long AllocatedBytes { get; init; }

    /// <summary>Bytes that the whole process allocated for each packet in the median of the steps of the measured interval (<see cref="AllocationSteps"/>); rounded up.</summary>
    public required decimal AllocatedBytesPerPacket { get; init; }

    internal IEnumerable<(string Name, string Value)> Rows()
    {
        yield return ("run", FormattableString.Invariant($"{Role}, {Mode}, {Ring}, {Size} bytes, bursts of {Burst}, {Queues} queue(s)"));
        yield return ("features", Features);
        yield return ("packets", FormattableString.Invariant($"{Packets} in {Seconds} s"));
        yield return ("rate", FormattableString.Invariant($"{Mpps} M packets/s"));
        yield return ("empty polls", FormattableString.Invariant($"{EmptyPollsPercent} %"));
        yield return ("sample", FormattableString.Invariant($"{Verified} verified, {Bad} bad, {Astray} with a number that was not next"));
        yield return ("allocated", FormattableString.Invariant($"{AllocatedBytesPerPacket} bytes a packet"));
    }
}
