namespace Vhost.Conformance;

/// <summary>Memory that a device has no business with: filled with a pattern that must still be there afterwards.</summary>
internal sealed class Canaries(CaseMemory memory)
{
    private const int Length = 256;
    private const byte Pattern = 0xC5;

    private readonly List<(ulong At, byte[] Bytes)> _guarded = [];

    /// <summary>Makes something in memory with a guarded stretch before and behind each of its buffers.</summary>
    public Work Surround(Func<Work> make)
    {
        ulong first = memory.Allocate(Length, 1);
        Work work = make();
        ulong last = memory.Allocate(Length, 1);
        List<ChainBuffer> buffers = [.. work.Chain.OrderBy(static buffer => buffer.Address)];
        ulong from = first;
        foreach (ChainBuffer buffer in buffers)
        {
            GuardPattern(from, buffer.Address);
            from = buffer.Address + buffer.Length;
        }

        GuardPattern(from, last + Length);
        return work;
    }

    /// <summary>What lies here now must not change.</summary>
    public void Guard(ulong at, int length) => _guarded.Add((at, memory.ReadBytes(at, length)));

    /// <summary>Fails the case if anything was written where nothing had to be.</summary>
    public void Check()
    {
        foreach ((ulong at, byte[] bytes) in _guarded)
            ExpectUntouched(at, bytes);
    }

    private void ExpectUntouched(ulong at, byte[] bytes)
    {
        int same = bytes.AsSpan().CommonPrefixLength(memory.ReadBytes(at, bytes.Length));
        if (same != bytes.Length)
            throw Expect.Harmed("memory that the device was not given stays as it is", $"the byte at 0x{at + (ulong)same:x} was written");
    }

    private void GuardPattern(ulong from, ulong to)
    {
        if (from >= to)
            return;
        memory.Fill(from, (int)(to - from), Pattern);
        Guard(from, (int)(to - from));
    }
}
