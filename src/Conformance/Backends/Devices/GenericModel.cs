namespace Vhost.Conformance;

/// <summary>A device of which nothing is known: cases that need it to do something are skipped.</summary>
internal sealed class GenericModel : DeviceModel
{
    public override string Name => "generic";

    public override bool CanWork => false;

    public override bool HasConfiguration => false;

    public override Work NewWork(CaseMemory memory) => throw Expect.Skipped("nothing is known of what this device does (--device)");
}
