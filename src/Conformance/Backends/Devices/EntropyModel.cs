namespace Vhost.Conformance;

/// <summary>A source of random numbers: the work is to ask for 64 bytes.</summary>
internal sealed class EntropyModel : DeviceModel
{
    private const int Length = 64;

    public override string Name => "rng";

    public override bool HasConfiguration => false;

    public override Work NewWork(CaseMemory memory) => NewWorkOf(memory, 1)!;

    public override Work? NewWorkOf(CaseMemory memory, int buffers)
    {
        int length = Math.Max(Length, buffers);
        return new(
            Cut(memory.Allocate(length), length, buffers, true),
            used => Expect.That(used.Length > 0 && used.Length <= length, $"between 1 and {length} random bytes", $"{used.Length}"));
    }
}
