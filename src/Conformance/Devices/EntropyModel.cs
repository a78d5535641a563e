namespace Vhost.Conformance;

/// <summary>A source of random numbers: the work is to ask for 64 bytes.</summary>
internal sealed class EntropyModel : DeviceModel
{
    private const int Length = 64;

    public override string Name => "rng";

    public override Work NewWork(CaseMemory memory) => new(
        [new(memory.Allocate(Length), Length, true)],
        static used => Expect.That(used.Length is > 0 and <= Length, "between 1 and 64 random bytes", $"{used.Length}"));
}
